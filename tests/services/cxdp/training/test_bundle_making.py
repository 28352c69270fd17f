"""From shards to a bundle: who may learn from what, what the bundle says of its data, and the way through the CLI."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.learning.sample_stream import TellsClean
from braggwatch.models.learning.training_config import paper_config
from braggwatch.models.networks.factory import make_network, network_from_weights
from braggwatch.services.cli import app
from braggwatch.services.cxdp.training.bundle_testing import run_test
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, Part, Split, crystal_of
from braggwatch.services.cxdp.training.training_facts import count_patterns, training_facts
from braggwatch.sim.cxdp.datasets import DatasetSpec, SampleInfo
from braggwatch.sim.cxdp.labels import CLASSES
from support.class_shards import CLEAN, MEASURED, write_shard


def test_a_split_keeps_all_patterns_of_a_crystal_together_and_its_shares() -> None:
    split = Split()
    parts = [split.part(str(number)) for number in range(4000)]
    assert 0.83 < parts.count("training") / 4000 < 0.87
    assert 0.08 < parts.count("calibration") / 4000 < 0.12
    assert 0.04 < parts.count("test") / 4000 < 0.06
    assert parts == [split.part(str(number)) for number in range(4000)]
    assert parts != [Split(seed=2).part(str(number)) for number in range(4000)]


def test_the_parts_of_a_data_set_share_no_crystal_and_miss_none(tmp_path: Path) -> None:
    path = write_shard(tmp_path, MEASURED, range(30))
    split = Split(shares=(0.5, 0.3, 0.2))
    parts = [LabelledShards([path], part=Part(split, name)) for name in ("training", "calibration", "test")]
    crystals = [{crystal_of(info) for info in part.infos} for part in parts]
    assert sum(len(part) for part in parts) == 30
    assert len(set.union(*crystals)) == 30
    assert all(crystals)
    assert count_patterns([path], Part(split, "training")) == len(parts[0])
    for part in parts:
        volumes, labels = part.batch(np.arange(len(part)))
        assert labels.tolist() == [CLASSES.index(info.label) for info in part.infos]
        assert len(volumes) == len(part)


def test_crystals_of_another_source_are_others() -> None:
    info = SampleInfo(3, "edge", "Pt", (1, 1, 1), 1.0, 0.1, 1e4, 300.0, 1.0)
    relaxed = SampleInfo(3, "edge", "Pt", (1, 1, 1), 1.0, 0.1, 1e4, 300.0, 1.0, source="relaxed-abx10")
    assert crystal_of(info) != crystal_of(relaxed)


def test_clean_shards_are_told_and_measured_where_counts_are_asked_for(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path, MEASURED, range(3)), write_shard(tmp_path, CLEAN, range(3, 6))]
    samples = LabelledShards(paths)
    assert isinstance(samples, TellsClean)
    assert samples.clean(np.arange(6)).tolist() == [False] * 3 + [True] * 3
    measured, spoilt = samples.counts(0), samples.counts(4)
    assert measured.max() == pytest.approx(5000, rel=0.1)
    np.testing.assert_allclose(spoilt, np.round(spoilt), atol=1e-2, rtol=1e-4)
    assert not np.allclose(np.log1p(spoilt), samples.batch(np.asarray([4]))[0][0], atol=0.5)
    np.testing.assert_array_equal(spoilt, LabelledShards(paths).counts(4))


def test_labels_that_are_no_class_are_one_more_class_or_left_out(tmp_path: Path) -> None:
    path = write_shard(tmp_path, MEASURED, range(4), ("perfect", "noise"))
    assert len(LabelledShards([path])) == 2
    with_outliers = LabelledShards([path], outlier_class=True)
    assert with_outliers.labels.tolist() == [0, 3, 0, 3]
    labelled = list(with_outliers.labelled())
    assert [one.label for one in labelled] == ["perfect", "noise", "perfect", "noise"]
    assert labelled[1].element is None


def test_lines_without_a_class_are_told_of_and_not_learnt_as_outliers(tmp_path: Path) -> None:
    path = write_shard(tmp_path, MEASURED, range(4), ("perfect", "mixed"))
    assert len(LabelledShards([path], outlier_class=True)) == 2
    every = list(LabelledShards([path], outlier_class=True, unclassed=True).labelled())
    assert [one.label for one in every] == ["perfect", "mixed", "perfect", "mixed"]
    assert (every[1].character_deg, every[1].strain_rad, every[1].g_dot_b) == (30.0, 0.2, 1.0)


def test_what_is_known_of_a_sample_goes_with_it_to_the_evaluation(
    tmp_path: Path,
) -> None:
    samples = LabelledShards([write_shard(tmp_path, MEASURED, range(4), ("screw",))])
    (old, new, spoilt, stranger) = samples.infos
    new = replace(new, aspect=2.5, blur_fringes=0.3, lattice="bcc")
    spoilt = replace(spoilt, blur_fringes=0.0, artefact="blank_frames")
    stranger = replace(stranger, label="noise", aspect=1.0, blur_fringes=0.0)
    samples.infos = (old, new, spoilt, stranger)
    seen = [(one.aspect, one.blur_fringes, one.artefact, one.lattice) for one in samples.labelled()]
    # of shards from before artefacts it isn't known whether theirs are unspoilt
    assert seen[0] == (None, None, None, "fcc")
    assert seen[1] == (2.5, 0.3, "none", "bcc")
    assert seen[2] == (None, 0.0, "blank_frames", "fcc")
    assert seen[3] == (None, None, None, None)


def test_a_bundle_says_what_its_shards_held(tmp_path: Path) -> None:
    measured = write_shard(tmp_path, MEASURED, range(4))
    clean = write_shard(tmp_path, CLEAN, range(4, 10), source="relaxed-abx10")
    facts = training_facts([measured, clean])
    assert (facts.patterns, facts.crystals, facts.relaxed, facts.clean) == (10, 10, 6, 6)
    assert facts.elements == ("Au", "Pt")
    assert facts.reflections == ("{111}", "{200}")
    assert dict(facts.specifications) == {MEASURED.digest(): 1, CLEAN.digest(): 1}
    assert facts.hashes[clean.name] == hashlib.sha256(clean.read_bytes()).hexdigest()
    domain = facts.valid_domain()
    assert domain.elements == ("Au", "Pt")
    assert domain.lattices == ("fcc",)
    assert domain.min_peak_counts == pytest.approx(200)
    assert domain.max_peak_counts == 1e6
    assert any("relaxed" in note for note in domain.notes)


def test_shards_for_different_fringe_periods_do_not_mix(tmp_path: Path) -> None:
    paths = [
        write_shard(tmp_path, MEASURED, range(2)),
        write_shard(tmp_path, DatasetSpec(fringe_period_voxels=4.0), range(2)),
    ]
    with pytest.raises(ValueError, match="fringe periods"):
        training_facts(paths)


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pattern"):
        training_facts([write_shard(tmp_path, MEASURED, range(0))])


@pytest.mark.parametrize("kind", ["foveated", "paper", "paper-half"])
def test_a_network_is_recognised_from_its_weights(kind) -> None:
    torch.manual_seed(1)
    network = make_network(kind, 4)
    again, said = network_from_weights(network.state_dict())
    assert said == kind
    x = torch.rand(1, 64, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(x)[0], again.eval()(x)[0])
    with pytest.raises(ValueError, match="network"):
        network_from_weights({"head.weight": torch.zeros(3, 3)})
    with pytest.raises(ValueError, match="no network known"):
        network_from_weights({})


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def test_half_a_split_and_unknown_presets_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, MEASURED, range(2))
    common = ("train", "--data", str(tmp_path), "--version", "1.0.0", "--work", str(tmp_path / "work"))
    half = run(*common, "--test", str(tmp_path))
    assert half.exit_code == 3
    assert "both" in half.stderr
    unknown = run(*common, "--preset", "fancy")
    assert unknown.exit_code == 3
    assert "'paper'" in unknown.stderr
    assert run(*common, "--network", "resnet").exit_code == 3


def test_a_folder_without_shards_or_without_any_crystal_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_shard(tmp_path / "noise", MEASURED, range(6), ("noise",))
    write_shard(tmp_path / "test", MEASURED, range(6))
    tail = ("--version", "1.0.0", "--work", str(tmp_path / "work"), f"--calibration={tmp_path / 'test'}")
    for folder in ("empty", "noise"):
        refused = run("train", "--data", str(tmp_path / folder), *tail, f"--test={tmp_path / 'test'}")
        assert refused.exit_code == 3
        assert folder in refused.stderr


def test_the_papers_preset_counts_epochs_over_its_share(tmp_path: Path) -> None:
    from braggwatch.services.cli.cxdp.train_command import _config

    path = write_shard(tmp_path, MEASURED, range(12))
    split = Split()
    config = _config("paper", (path,), split, seed=3, threads=2, device="cpu")
    assert config == paper_config(count_patterns([path], Part(split, "training")), seed=3, threads=2)
    assert config.validate_every == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_shards_to_production_by_the_command_line(tmp_path: Path) -> None:
    for folder, numbers in (("train", range(24)), ("calibration", range(100, 130)), ("test", range(200, 212))):
        write_shard(tmp_path / folder, MEASURED, numbers)
    for folder in ("outliers", "test"):
        write_shard(tmp_path / folder, MEASURED, range(6), ("noise", "speckle"))
    write_shard(tmp_path / "train", CLEAN, range(24, 36))
    folders = [
        f"--{name}={tmp_path / folder}" for name, folder in (("data", "train"), ("calibration",) * 2, ("test",) * 2)
    ]
    folders.append(f"--data={tmp_path / 'outliers'}")
    registry, work = tmp_path / "bundles", tmp_path / "work"
    registry.mkdir()
    made = run(
        "train", *folders, f"--registry={registry}", f"--work={work}", "--version=1.0.0", "--name=quick",
        "--steps=10", "--batch=6", "--workers=2",
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    manifest = Bundle.load(registry / "quick" / "1.0.0").manifest
    assert manifest.provenance.network == "foveated"
    assert set(manifest.provenance.specifications) == {MEASURED.digest(), CLEAN.digest()}
    assert manifest.valid_domain.elements == ("Au", "Pt")
    assert manifest.metrics is not None
    assert manifest.metrics.samples == 12
    assert manifest.thresholds.foreign is not None
    assert (work / "report.html").exists()

    promoted = run("promote", "quick/1.0.0", f"--registry={registry}", "--json")
    assert json.loads(promoted.stdout)["alias"] == "production"
    test = f"--test={tmp_path / 'test'}"
    report = tmp_path / "report.html"
    alone = run("evaluate", test, f"--registry={registry}", "--json", f"--report={report}")
    assert alone.exit_code == 0, alone.stderr
    scores = json.loads(alone.stdout)
    assert scores["samples"] == 12
    assert {one["kind"] for one in scores["aliens"]} == {"noise", "speckle"}
    assert all(one["picture"] == "" for one in scores["mistakes"])

    bundle = registry / "quick" / "1.0.0"
    shards = sorted((tmp_path / "test").glob("*.h5"))
    several = run_test(BundleClassifier.load(bundle, threads=1), shards, (), workers=2)
    assert (
        several.without_pictures().to_json()
        == run_test(BundleClassifier.load(bundle, threads=1, prefer="onnxruntime-cpu"), shards, ())
        .without_pictures()
        .to_json()
    )

    exported = run("export", "quick/1.0.0", f"--registry={registry}", "--to", str(tmp_path / "a.onnx"), "--json")
    assert exported.exit_code == 0, exported.stderr
    assert json.loads(exported.stdout)["golden_difference"] < 1e-4
    assert (tmp_path / "a.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    from_checkpoint = run("export", str(work), "--to", str(tmp_path / "b.onnx"))
    assert from_checkpoint.exit_code == 0, from_checkpoint.stderr
    assert Registry(registry).resolve("production") == bundle

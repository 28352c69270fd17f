"""What is for defects in crystals says of another task's bundle what it is; what is for any bundle takes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import Bundle, OtherTaskError, write_bundle
from braggwatch.models.bundling.registry import Registry, RegistryError
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.models.uncertainty.conformal import ConformalCalibration
from braggwatch.models.uncertainty.ood import MahalanobisDetector
from braggwatch.models.uncertainty.trust import TrustArrays
from braggwatch.services.cli import app
from braggwatch.services.composition import compose_service
from braggwatch.services.settings import Settings
from support.task_networks import task_bundle, task_counts
from support.tensorrt_host import rtx

OTHER = "apt-order/0.0.0"


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def write_other(root: Path) -> Path:
    """Write the order task's bundle, calibrated on nothing that means anything."""
    bundle = task_bundle("apt-order")
    output = OnnxRuntime(bundle.model, threads=1).run(task_counts(bundle.manifest.input.shape, 80, seed=1))
    labels = np.arange(80) % 2
    trust = TrustArrays(
        MahalanobisDetector.fit(output.features[:, None, :], labels, 0.5),
        ConformalCalibration.fit(output.probabilities.astype(np.float64), labels),
        np.array([0.5, 0.9]),
        np.array([1.0, 2.0]),
    )
    return write_bundle(
        root, bundle.manifest, model=bundle.model, trust=trust, golden=bundle.golden, weights=b"none", card="# other\n"
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of another task, in a registry of its own."""
    return write_other(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def settings(other: Path, tmp_path: Path) -> Path:
    """Settings of a service that is given that bundle."""
    path = tmp_path / "braggwatch.toml"
    path.write_text(
        f'[screening]\nregistry = "{other.parent.parent}"\nmodel = "{OTHER}"\ngeometry = "simulated"\n'
        f'[store]\npath = "{tmp_path / "results.sqlite"}"\n'
    )
    return path


def test_it_is_listed_verified_and_promoted_under_a_name_of_its_own(other: Path) -> None:
    registry = ("--registry", str(other.parent.parent), "--json")
    assert json.loads(run("models", "list", *registry).stdout)["tasks"] == {OTHER: "apt-order"}
    table = CliRunner().invoke(app, ["models", "list", *registry[:2]], env={"COLUMNS": "200"}).stdout
    assert "apt-order" in table
    assert "3 x 93 x 5" in table
    assert json.loads(run("models", "verify", OTHER, *registry).stdout)["reports"][0]["ok"] is True
    assert run("promote", OTHER, "--alias", "order", *registry).exit_code == 0
    refused = run("promote", OTHER, *registry)
    assert refused.exit_code == 3
    assert "another alias" in refused.stderr
    assert Registry(other.parent.parent).aliases() == {"order": OTHER}


def test_bundles_are_chosen_by_their_task(other: Path, tmp_path: Path) -> None:
    assert Registry(other.parent.parent).list("apt-order") == (OTHER,)
    assert Registry(other.parent.parent).list("cxdp-defect") == ()
    broken = tmp_path / "broken" / "1.0.0"
    broken.mkdir(parents=True)
    (broken / "model.json").write_text("{")
    assert Registry(tmp_path).list() == ("broken/1.0.0",)
    assert Registry(tmp_path).list("apt-order") == ()
    assert "can't be read" in run("models", "list", "--registry", str(tmp_path)).stdout
    with pytest.raises(RegistryError, match=r"model\.json"):
        Registry(tmp_path).manifest("broken/1.0.0")


def test_its_engine_is_built(other: Path, tmp_path: Path) -> None:
    rtx()
    words = ("engine", "build", "--all", "--registry", str(other.parent.parent), "--for", "SM86")
    done = run(*words, "--out", str(tmp_path / "engines"), "--json")
    assert done.exit_code == 0, done.stderr
    (record,) = json.loads(done.stdout)["engines"]
    assert (record["bundle"], record["precision"]) == (OTHER, "fp16")


def test_commands_for_crystals_say_what_it_is(other: Path, settings: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume.npz"
    np.savez(volume, intensity=np.ones((64, 64, 64), np.float32))
    commands = (
        ("benchmark", str(other), "--split", "public-dev"),
        ("gap", "--bundle", str(other), "--hard", "0"),
        ("evaluate", "--bundle", OTHER, "--registry", str(other.parent.parent), "--test", str(tmp_path)),
        ("explain", str(volume), "--model", str(other)),
        ("explain", str(volume), "--model", str(other), "--method", "gradcam"),
        ("export", str(other), "--to", str(tmp_path / "model.onnx")),
        ("screen", "--config", str(settings)),
    )
    for words in commands:
        done = run(*words)
        assert done.exit_code == 3, (words, done.output)
        assert "of task 'apt-order' (input 3 x 93 x 5, 2 classes)" in done.stderr, words
    assert not (tmp_path / "model.onnx").exists()


def test_the_service_does_not_start_with_it_and_the_doctor_says_so(settings: Path) -> None:
    from braggwatch.services.settings import load_settings

    loaded: Settings = load_settings(settings)
    with pytest.raises(OtherTaskError, match="'cxdp-defect' is needed"):
        compose_service(loaded)
    said = json.loads(run("doctor", "--json", "-c", str(settings)).stdout)
    (model,) = [one for one in said["checks"] if one["name"] == "model"]
    assert model["status"] == "FAIL"
    assert "apt-order" in model["finding"]


def test_a_defect_bundle_is_needed_by_name(other: Path) -> None:
    Bundle.load(other).require_task("apt-order")
    with pytest.raises(OtherTaskError, match="here one of 'sadp-space-group'"):
        Bundle.load(other).require_task("sadp-space-group")

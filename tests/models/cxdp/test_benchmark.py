"""The open test set is whole, divided by crystal, and scores any graph for what it is."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import PRODUCTION, Registry
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.cxdp.benchmarking import (
    Benchmark,
    BenchmarkError,
    BundleEntrant,
    EntrantError,
    OnnxEntrant,
    Reading,
    answer_all,
    score_answers,
)
from braggwatch.models.cxdp.benchmarking.entrants import Answer
from braggwatch.models.cxdp.benchmarking.making import choose, divide
from braggwatch.models.cxdp.benchmarking.patterns import SPLITS, PatternFacts, default_folder, store_volumes
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.sim.cxdp.labels import CLASSES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "benchmark.md"
LARGEST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def benchmark_set() -> Benchmark:
    return Benchmark.load()


def test_every_file_is_what_its_hash_says(benchmark_set: Benchmark) -> None:
    listed = {line.split()[1]: line.split()[0] for line in (default_folder() / "SHA256SUMS").read_text().splitlines()}
    there = {path.name for path in default_folder().iterdir()} - {"SHA256SUMS"}
    assert set(listed) == there
    for name, digest in listed.items():
        data = (default_folder() / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert len(data) < LARGEST_BYTES


def test_no_crystal_is_in_two_splits(benchmark_set: Benchmark) -> None:
    dev, test = ({one.configuration for one in benchmark_set.chosen((split,))} for split in SPLITS)
    assert dev
    assert test
    assert not dev & test


def test_it_is_balanced(benchmark_set: Benchmark) -> None:
    for split in SPLITS:
        facts = benchmark_set.chosen((split,))
        for source in {one.source for one in facts} - {"outlier"}:
            labels = Counter(one.label for one in facts if one.source == source)
            assert set(labels) == set(CLASSES)
            assert max(labels.values()) <= 1.5 * min(labels.values())
    crystals = [one for one in benchmark_set.facts if one.source == "continuum"]
    families = Counter(tuple(sorted(map(abs, one.hkl), reverse=True)) for one in crystals)
    assert len(families) == 4
    assert max(families.values()) <= 1.5 * min(families.values())
    assert all((one.g_dot_b != 0) == (one.label != "perfect") for one in crystals)


def test_no_shipped_bundle_learnt_from_it(benchmark_set: Benchmark) -> None:
    shards: set[str] = set()
    for one in benchmark_set.facts:
        _, stem, config = one.configuration.split("/")
        # a shard of built crystals is named after its first of a hundred; a library is named in its shards' names
        shards.add(f"{stem}-{int(config) // 100 * 100:06d}.h5" if one.source == "continuum" else stem)
    for bundle in Registry().list(DEFECT_TASK):
        learnt = Bundle.load(Registry().root / bundle).manifest.provenance.training_sets
        assert learnt
        assert not [name for name in learnt if any(name.startswith(shard) for shard in shards)], bundle


def test_volumes_are_counts(benchmark_set: Benchmark) -> None:
    seen = 0
    for fact, counts in benchmark_set.volumes(("public-dev",)):
        assert counts.shape == (64, 64, 64)
        assert counts.dtype == np.float32
        assert counts.min() >= 0.0
        assert counts.max() > 0.0
        assert fact.source != "continuum" or counts.max() < 3.0 * fact.peak_counts
        seen += 1
    assert seen == len(benchmark_set.chosen(("public-dev",)))


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    copy = shutil.copytree(default_folder(), tmp_path / "set")
    with (copy / "patterns.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(BenchmarkError, match=r"patterns\.jsonl: content differs"):
        Benchmark.load(copy)
    (copy / "test.h5").unlink()
    with pytest.raises(BenchmarkError):
        Benchmark.load(copy)
    with pytest.raises(BenchmarkError, match="no such folder"):
        Benchmark.load(tmp_path / "absent")


def test_what_is_stored_is_the_rounded_root(tmp_path: Path) -> None:
    counts = np.random.default_rng(3).gamma(0.3, 1e4, size=(64, 64, 64))
    store_volumes(tmp_path, "test", [counts])
    fact = PatternFacts(
        split="test",
        index=0,
        label="perfect",
        configuration="a",
        source="continuum",
        element="Au",
        hkl=(1, 1, 1),
        g_dot_b=0.0,
        line_distance=None,
        peak_counts=1e4,
        size_nm=200.0,
        completeness=1.0,
    )
    ((_, back),) = Benchmark(tmp_path, (fact,)).volumes(("test",))
    assert np.abs(np.sqrt(back) - np.sqrt(counts)).max() <= 0.5 + 1e-3


def graph(
    tmp_path: Path, *, shape: Sequence[str | int], classes: int = 3, output: str = "logits", seed: int = 0
) -> Path:
    """Write a graph of one random linear layer over coarse means."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to score")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=(512, classes)) * 3).astype(np.float32)
    five = [1, 1, 64, 64, 64]
    nodes = [
        helper.make_node("Reshape", ["x", "five"], ["v"]),
        helper.make_node("AveragePool", ["v"], ["p"], kernel_shape=[8, 8, 8], strides=[8, 8, 8]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("LpNormalization", ["f"], ["n"], axis=1),
        helper.make_node("MatMul", ["n", "w"], [output]),
    ]
    made = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, classes])],
        [
            numpy_helper.from_array(np.array(five), "five"),
            numpy_helper.from_array(np.array([1, 512]), "flat"),
            numpy_helper.from_array(weights, "w"),
        ],
    )
    path = tmp_path / "random.onnx"
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [["N", 64, 64, 64], ["N", 1, 64, 64, 64]])
def test_random_weights_score_about_chance(benchmark_set: Benchmark, tmp_path: Path, shape: list[str | int]) -> None:
    accuracies: list[float] = []
    for seed in range(4):
        entrant = OnnxEntrant.from_file(graph(tmp_path, shape=shape, seed=seed), Reading(scale="log1p-max"), threads=1)
        answers = answer_all(entrant, benchmark_set, ("public-dev",))
        result = score_answers(entrant, benchmark_set, answers, ("public-dev",))
        accuracies.append(result.accuracy.accuracy)
        assert result.accuracy.low <= result.accuracy.accuracy <= result.accuracy.high
        assert result.accuracy.configurations <= result.samples
        assert sum(map(sum, result.confusion)) == result.samples
        assert result.named is None
        assert {one.set_aside for one in result.outliers} == {None}
    assert 0.15 < np.mean(accuracies) < 0.55


@pytest.mark.parametrize(
    ("options", "reading", "message"),
    [
        ({"shape": ["N", 32, 32, 32]}, Reading(), r"\[1, 64, 64, 64\]"),
        ({"shape": ["N", 64, 64, 64]}, Reading(layout="NCDHW"), "as NCDHW it must take"),
        ({"shape": ["N", 64, 64, 64], "classes": 4}, Reading(), "perfect, screw, edge"),
        ({"shape": ["N", 64, 64, 64], "output": "y"}, Reading(), "--reads"),
        ({"shape": ["N", 64, 64, 64], "output": "y"}, Reading(output="z"), "no output 'z'"),
        ({"shape": ["N", 64, 64, 64], "output": "probabilities"}, Reading(), "read it as logits"),
        ({"shape": ["N", 64, 64, 64]}, Reading(score_output="far"), "no output 'far'"),
    ],
)
def test_a_graph_that_does_not_fit_is_told_why(
    tmp_path: Path, options: dict[str, object], reading: Reading, message: str
) -> None:
    path = graph(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(EntrantError, match=message):
        OnnxEntrant.from_file(path, reading, threads=1)


def test_what_is_no_graph_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(EntrantError, match="can't load"):
        OnnxEntrant(b"no graph", "mine.onnx")


class Oracle:
    """Knows the truth, but for the patterns that it refuses."""

    name, sha256, strangeness = "oracle", "", "whether it is an outlier"

    def __init__(self, refuse: frozenset[int] = frozenset()) -> None:
        self.refuse = refuse

    def answers(self, facts: tuple[PatternFacts, ...]) -> list[Answer]:
        rows = np.eye(3)
        return [
            Answer(
                None if number in self.refuse else rows[0 if one.is_outlier else CLASSES.index(one.label)],
                float(one.is_outlier),
                not one.is_outlier,
            )
            for number, one in enumerate(facts)
        ]

    def answer(self, counts: np.ndarray) -> Answer:
        raise NotImplementedError


def test_the_truth_scores_one_and_no_answer_counts_as_wrong(benchmark_set: Benchmark) -> None:
    facts = benchmark_set.chosen()
    all_right = score_answers(Oracle(), benchmark_set, Oracle().answers(facts))
    assert all_right.accuracy.accuracy == all_right.perfect_vs_defect.accuracy == 1.0
    assert all_right.nll == pytest.approx(0.0, abs=1e-9)
    assert all_right.expected_calibration_error == pytest.approx(0.0)
    assert all_right.outlier_auroc == 1.0
    assert {one.set_aside for one in all_right.outliers} == {1.0}
    assert all_right.named_share == 1.0
    perfect = frozenset(n for n, one in enumerate(facts) if one.label == "perfect")
    refusing = Oracle(perfect)
    result = score_answers(refusing, benchmark_set, refusing.answers(facts))
    assert result.unanswered == len(perfect)
    assert result.accuracy.accuracy == pytest.approx(1 - len(perfect) / result.samples)


def test_choosing_takes_so_many_of_each_and_divides_by_crystal() -> None:
    from braggwatch.models.cxdp.benchmarking.making import Candidate
    from braggwatch.sim.cxdp.datasets import SampleInfo

    def one(config: int, place: int, label: str) -> Candidate:
        info = SampleInfo(config, label, "Au", (1, 1, 1), 1.0, 0.1, 2e4, 200.0, 1.0)
        return Candidate(Path("cxdp-a-000000.h5"), place, info, "relaxed")

    found = [one(config, 2 * config + n, CLASSES[config % 3]) for config in range(18) for n in range(2)]
    cells = choose(found, each=9)
    assert [len(cell) for cell in cells] == [9, 9, 9]
    divided = divide(cells)
    dev, test = ({c.info.config for c in divided[split]} for split in SPLITS)
    assert not dev & test
    assert sum(map(len, divided.values())) == 27
    assert len(dev) < len(test)


@pytest.mark.slow
def test_the_documented_scores_are_those_of_the_production_bundle(benchmark_set: Benchmark) -> None:
    registry = Registry()
    bundle = registry.aliases()[PRODUCTION]
    row = re.search(rf"^\| {re.escape(bundle)} \| ([\d.]+) %", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row, f"{PAGE.name} has no row for {bundle}: run 'braggwatch cxdp benchmark {bundle}' and add its scores"
    entrant = BundleEntrant(BundleClassifier.load(registry.resolve(PRODUCTION)))
    answers = answer_all(entrant, benchmark_set, ("test",))
    result = score_answers(entrant, benchmark_set, answers, ("test",))
    assert 100 * result.accuracy.accuracy == pytest.approx(float(row[1]), abs=0.051)


def test_a_graph_whose_weights_lie_beside_it_is_scored_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    shas: list[str] = []
    for scale, sub in ((1e-6, "a"), (2e-6, "b")):
        weights = onnx.numpy_helper.from_array(np.full((64**3, 3), scale, dtype=np.float32), "w")
        nodes = [
            onnx.helper.make_node("Flatten", ["x"], ["f"], axis=1),
            onnx.helper.make_node("MatMul", ["f", "w"], ["logits"]),
        ]
        x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64, 64, 64])
        y = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3])
        model = onnx.helper.make_model(
            onnx.helper.make_graph(nodes, "g", [x], [y], [weights]), opset_imports=[onnx.helper.make_opsetid("", 17)]
        )
        model.ir_version = 10
        (tmp_path / sub).mkdir()
        onnx.save_model(
            model, tmp_path / sub / "mine.onnx", save_as_external_data=True, location="mine.onnx.data", size_threshold=9
        )
        monkeypatch.chdir(tmp_path)
        entrant = OnnxEntrant.from_file(Path(sub) / "mine.onnx", threads=1)
        assert entrant.answer(np.ones((64, 64, 64), dtype=np.float32)).probabilities is not None
        shas.append(entrant.sha256)
    assert (tmp_path / "a" / "mine.onnx").read_bytes() == (tmp_path / "b" / "mine.onnx").read_bytes()
    assert shas[0] != shas[1], "the weights are part of what was scored"
    (tmp_path / "b" / "mine.onnx.data").unlink()
    with pytest.raises(EntrantError, match=r"mine\.onnx"):
        OnnxEntrant.from_file(tmp_path / "b" / "mine.onnx", threads=1)

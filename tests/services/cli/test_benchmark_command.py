"""``braggwatch cxdp benchmark`` scores a file or a bundle, and says in one line what doesn't fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from braggwatch.models.bundling.registry import PRODUCTION, Registry
from braggwatch.models.cxdp.benchmarking.patterns import FACTS_FILE, Benchmark, PatternFacts, store_volumes, write_sums
from braggwatch.services.cli import app


def run(*words: str):
    return CliRunner().invoke(app, ["benchmark", *words])


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patterns of crystals and an outlier in public-dev, and that outlier alone in test."""
    folder = tmp_path_factory.mktemp("small")
    shipped = Benchmark.load()
    labels = ("perfect", "screw", "edge", "noise")
    found: dict[str, tuple[PatternFacts, NDArray[Any]]] = {}
    for fact, counts in shipped.volumes(("public-dev",)):
        found.setdefault(fact.label, (fact, counts))
    chosen = [found[label] for label in labels]
    store_volumes(folder, "public-dev", [counts for _, counts in chosen])
    store_volumes(folder, "test", [chosen[-1][1]])
    lines = [fact.model_copy(update={"index": n}).model_dump_json() + "\n" for n, (fact, _) in enumerate(chosen)]
    lines.append(chosen[-1][0].model_copy(update={"index": 0, "split": "test"}).model_dump_json() + "\n")
    (folder / FACTS_FILE).write_text("".join(lines))
    shutil.copy(shipped.folder / "CARD.md", folder)
    write_sums(folder)
    return folder


def test_a_bundle_and_its_graph_are_scored(small_set: Path) -> None:
    bundle = Registry().resolve(PRODUCTION)
    for model in (PRODUCTION, str(bundle), str(bundle / "model.onnx")):
        done = run(model, "--set", str(small_set), "--split", "public-dev", "--json")
        assert done.exit_code == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["samples"] == 3
        assert result["accuracy"]["configurations"] == 3
        assert [one["kind"] for one in result["outliers"]] == ["noise"]
        assert (result["named"] is None) == model.endswith(".onnx")
    shown = run(PRODUCTION, "--set", str(small_set), "--split", "public-dev")
    assert shown.exit_code == 0
    assert "calibration" in shown.stdout
    assert "said screw" in shown.stdout


def test_what_does_not_fit_is_said_in_one_line(small_set: Path, tmp_path: Path) -> None:
    onnx = Registry().resolve(PRODUCTION) / "model.onnx"
    broken = tmp_path / "mine.onnx"
    broken.write_bytes(b"no graph")
    calls = {
        (str(broken),): "can't load",
        (str(tmp_path / "absent.onnx"),): "absent.onnx",
        (str(onnx), "--layout", "NCDHW"): "as NCDHW it must take",
        (str(onnx), "--output", "features"): "--reads",
        (str(onnx), "--output", "features", "--reads", "logits"): "perfect, screw, edge",
        (PRODUCTION, "--input", "log1p-max"): "is a bundle",
        ("nobody/0.0.0",): "nobody/0.0.0",
    }
    for words, message in calls.items():
        done = run(*words, "--set", str(small_set), "--split", "public-dev")
        assert done.exit_code == 3, words
        assert message in done.stderr
    assert run(PRODUCTION, "--set", str(tmp_path / "absent")).exit_code == 3
    empty = run(str(onnx), "--set", str(small_set), "--split", "test")
    assert empty.exit_code == 3
    assert "no pattern of a crystal" in empty.stderr

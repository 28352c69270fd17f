"""A folder's checkpoint is taken up by its own training alone, and a card says what its scores are worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braggwatch.services.cli import app
from support.class_shards import MEASURED, write_shard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, and what a first training on ``one`` left."""
    folder = tmp_path_factory.mktemp("trained")
    for name, numbers in (("one", range(12)), ("two", range(50, 62)), ("calibration", range(100, 130))):
        write_shard(folder / name, MEASURED, numbers)
    write_shard(folder / "test", MEASURED, range(200, 206))
    done = train(folder, "1.0.0")
    assert done.exit_code == 0, done.output
    return folder


def train(folder: Path, version: str, *more: str, data: str = "one", test: str = "test", work: str = "work"):
    words = [
        "cxdp", "train", f"--data={folder / data}", f"--calibration={folder / 'calibration'}",
        f"--test={folder / test}", f"--version={version}", f"--work={folder / work}",
        f"--registry={folder / 'bundles'}", "--steps=10", "--batch=6", "--threads=1", *more,
    ]  # fmt: skip
    return CliRunner().invoke(app, words)


def said(done) -> str:
    return " ".join(done.stderr.split())


def test_another_training_is_refused_by_what_differs(folder: Path) -> None:
    before = (folder / "work" / "checkpoint.pt").read_bytes()
    for more, data, named in (
        ((), "two", "the training data: 12 samples"),
        (("--largest-line-offset=0.3",), "one", "--largest-line-offset: any, now 0.3"),
        (("--from", "cxdp-fcc/1.0.0"), "one", "--from: random weights, now cxdp-fcc/1.0.0"),
        (("--seed=2",), "one", "seed: 1, now 2"),
    ):
        done = train(folder, "1.1.0", *more, data=data)
        assert done.exit_code == 3, done.output
        assert "belongs to another training" in said(done)
        assert named in said(done)
        assert "Traceback" not in said(done)
    assert (folder / "work" / "checkpoint.pt").read_bytes() == before
    assert not (folder / "bundles" / "cxdp-fcc" / "1.1.0").exists()


def test_the_same_training_is_taken_up_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = train(folder, "1.2.0")
    assert done.exit_code == 0, done.output
    assert "no step is left to do" in caplog.text
    weights = [
        (folder / "bundles" / "cxdp-fcc" / version / "weights.safetensors").read_bytes()
        for version in ("1.0.0", "1.2.0")
    ]
    assert weights[0] == weights[1]


def test_a_checkpoint_cut_short_is_named(folder: Path) -> None:
    path = folder / "work" / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = train(folder, "1.3.0")
    path.write_bytes(whole)
    assert done.exit_code == 3, done.output
    assert "checkpoint.pt is no checkpoint" in said(done)


def test_the_card_counts_the_crystals_that_were_compared(folder: Path) -> None:
    bundle = folder / "bundles" / "cxdp-fcc" / "1.0.0"
    card = " ".join((bundle / "CARD.md").read_text().split())
    assert "none is shared (12 learnt from, 30 calibrated on)" in card
    provenance = json.loads((bundle / "model.json").read_text())["provenance"]
    assert provenance["separation"]["shared"] == 0
    assert provenance["separation"]["test"] == 6
    assert provenance["learnt"] == {"numbers": {"1": [[0, 11]]}, "relaxed": [], "complete": True}


def test_an_overlap_that_was_allowed_stands_where_the_score_stands(folder: Path) -> None:
    done = train(folder, "1.4.0", "--allow-overlap", test="one", work="allowed")
    assert done.exit_code == 0, done.output
    assert "training and test share 12 crystals" in said(done)
    bundle = folder / "bundles" / "cxdp-fcc" / "1.4.0"
    card = " ".join((bundle / "CARD.md").read_text().split())
    assert "used nowhere else" not in card
    assert "WARNING: 12 crystals are shared" in card
    assert json.loads((bundle / "model.json").read_text())["provenance"]["separation"]["shared"] == 12

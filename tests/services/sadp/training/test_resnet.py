"""The published networks, trained from the command line on pictures drawn from spot lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("gemmi", reason="needs the sadp extra")

from braggwatch.models.learning.training_config import TrainingConfig, rate_at  # noqa: E402
from braggwatch.models.sadp.pictures import (  # noqa: E402
    PAPER,
    PicturePresentation,
    PictureSettings,
    drawn_pictures,
    undisturbed_pictures,
)
from braggwatch.services.cli import app  # noqa: E402
from braggwatch.services.sadp.training.resnet import published_schedule  # noqa: E402
from braggwatch.sim.sadp.dataset import PatternSpec, facts_of, patterns_of  # noqa: E402
from braggwatch.sim.sadp.pattern_files import store_patterns  # noqa: E402
from braggwatch.sim.sadp.pattern_set import pack  # noqa: E402
from braggwatch.sim.sadp.table import structures  # noqa: E402

ONE = np.zeros((1, 3, 3), dtype=np.float32)
ONE[0, 0] = (0.25, 0.0, 1.0)
ONE[0, 1] = (0.0, -0.5, 0.0625)


def test_undisturbed_picture_has_its_spots_in_place_and_its_weak_ones_visible():
    style = undisturbed_pictures(PictureSettings())
    picture = drawn_pictures(ONE, np.zeros(1, dtype=np.int64), style)[0]
    assert picture.shape == (224, 224)
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    assert (x, y) == (pytest.approx(111.5 + 32, abs=0.6), pytest.approx(111.5, abs=0.6))
    weak = picture[40:56, 104:120].max()
    # the peak lies between pixels
    assert weak == pytest.approx(0.5, abs=0.05)
    linear = drawn_pictures(ONE, np.zeros(1, dtype=np.int64), undisturbed_pictures(PAPER))[0]
    assert linear[40:56, 104:120].max() == pytest.approx(0.0625, abs=0.01)


@pytest.mark.parametrize("settings", [PAPER, PictureSettings()])
def test_pictures_stay_within_their_range_and_repeat_by_seed(settings: PictureSettings):
    spots = np.repeat(ONE, 6, axis=0)
    first = drawn_pictures(spots, np.arange(6), settings)
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.array_equal(first, drawn_pictures(spots, np.arange(6), settings))
    assert not np.array_equal(first[0], first[1])


def test_published_pictures_are_never_mirrored():
    style = PictureSettings(
        zoom=1.0, turn_deg=0.0, mirrored_share=0.0, offset_px=0.0, halo=0.0, grain=0.0, stop_share=0
    )
    spots = np.repeat(ONE, 20, axis=0)
    columns = drawn_pictures(spots, np.arange(20), style).sum(axis=1).argmax(axis=1)
    assert (columns > 112).all()
    assert PAPER.mirrored_share == 0


def test_presentation_spoils_for_learning_and_not_for_judging():
    shown = PicturePresentation()
    samples, clean = torch.from_numpy(np.repeat(ONE, 4, axis=0)), torch.zeros(4, dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)
    learnt = shown.to_learn(samples, clean, TrainingConfig(), generator)
    judged = shown.to_judge(samples, clean, None)
    assert learnt.shape == judged.shape == (4, 224, 224)
    assert torch.equal(judged[0], judged[1])
    assert not torch.equal(learnt[0], learnt[1])


def test_published_schedule_divides_the_rate_by_ten_every_seven_of_25_epochs():
    config = published_schedule(6400)
    assert (config.optimiser, config.steps) == ("sgd", 2500)
    rates = [rate_at(step, config) for step in (0, 699, 700, 1400, 2100, 2499)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_run_from_the_command_line_and_one_that_starts_from_its_weights(tmp_path: Path):
    spec = PatternSpec(per_zone=1)
    chosen = [row.build() for row in structures() if row.space_group == 225][:3]
    chosen += [row.build() for row in structures() if row.space_group == 221][:3]
    patterns = pack([facts_of(one) for one in chosen], [p for one in chosen for p in patterns_of(one, spec)])
    store_patterns(tmp_path / "patterns.h5", spec, patterns)
    common = ["sadp", "train-resnet", "--data", str(tmp_path / "patterns.h5"), "--width", "4", "--batch", "16"]
    result = CliRunner().invoke(app, [*common, "--work", str(tmp_path / "one"), "--epochs", "2"])
    assert result.exit_code == 0, result.output
    score = json.loads((tmp_path / "one" / "validation.json").read_text())
    assert score["kind"] == "resnet18"
    assert score["patterns"] == 32
    assert 0 <= score["accuracy"] <= 1
    losses = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 2 * (64 // 16)
    weights = str(tmp_path / "one" / "weights.safetensors")
    again = [*common, "--work", str(tmp_path / "two"), "--epochs", "1", "--pretrained", weights]
    assert CliRunner().invoke(app, again).exit_code == 0
    other = [*common, "--work", str(tmp_path / "three"), "--network", "resnet34", "--pretrained", weights]
    refused = CliRunner().invoke(app, other)
    assert refused.exit_code == 3
    assert "another network" in refused.output

"""Half a minute of patterns at thirty a second through everything: proxy, service, trained bundle, store, page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from braggwatch.models.bundling.registry import Registry, RegistryError

ROOT = Path(__file__).resolve().parents[4]
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The packaged bundle for electron diffraction, else one that has learnt a little."""
    if (named := os.environ.get("BRAGGWATCH_SADP_BUNDLE")) is not None:
        return named
    try:
        return str(Registry().resolve("sadp"))
    except RegistryError:
        return train(tmp_path_factory.mktemp("sadp"))


def train(folder: Path) -> str:
    pytest.importorskip("torch", reason="needs the train extra")
    pytest.importorskip("gemmi", reason="needs the sadp extra")
    from typer.testing import CliRunner

    from braggwatch.services.cli import app
    from braggwatch.sim.sadp.dataset import PatternSpec, facts_of, patterns_of
    from braggwatch.sim.sadp.pattern_files import store_patterns
    from braggwatch.sim.sadp.pattern_set import pack
    from braggwatch.sim.sadp.table import structures

    spec = PatternSpec(per_zone=2)
    built = sorted((row.build() for row in structures()), key=lambda one: facts_of(one).effective_group)
    chosen = [
        one for _, same in groupby(built, key=lambda one: facts_of(one).effective_group) for one in list(same)[:3]
    ]
    store_patterns(
        folder / "patterns.h5",
        spec,
        pack([facts_of(one) for one in chosen], [p for one in chosen for p in patterns_of(one, spec)]),
    )
    where = [
        "--data",
        str(folder / "patterns.h5"),
        "--work",
        str(folder / "work"),
        "--registry",
        str(folder / "bundles"),
    ]
    result = CliRunner().invoke(app, ["sadp", "train", "--version", "0.0.1", "--steps", "200", "--batch", "64", *where])
    assert result.exit_code == 0, result.output
    return str(folder / "bundles" / "sadp-cubic" / "0.0.1")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_half_a_minute_at_thirty_a_second_loses_nothing(bundle: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    command = [sys.executable, ROOT / "docs/measure_sadp_stream.py", "--bundle", bundle, "--seconds", "31"]
    ran = subprocess.run([*command, "--picture", picture], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["published"] == 930
    assert (found["judged"], found["stored"], found["in_metrics"]) == (930, 930, 930)
    assert (found["lost"], found["documents_lost"]) == (0, 0)
    assert found["crystal"]["visits"] == 6
    assert picture.stat().st_size > 20_000


def test_binned_frames_come_out_as_the_same_class(bundle: str) -> None:
    import numpy as np

    from braggwatch.callbacks.sadp.frame_checks import binned
    from braggwatch.callbacks.sadp.pattern import measure_pattern
    from braggwatch.models.sadp.classifier import SadpClassifier
    from braggwatch.sim.beamline.microscope import CameraSpec, SimulatedMicroscope
    from braggwatch.sim.sadp.table import structures

    classifier = SadpClassifier.load(Path(bundle))
    same: list[bool] = []
    for group in (213, 221, 225, 227, 229):
        crystal = next(row for row in structures() if row.space_group == group).build()
        for _, _, frame in SimulatedMicroscope(crystal, CameraSpec(size_px=512)).expose_all([(0, 0, 1), (1, 1, 2)], 2):
            pair = [classifier.classify(measure_pattern(one)) for one in (frame, binned(frame, 256)[0])]
            named = [one.verdict.probabilities for one in pair]
            assert all(named)
            same.append(max(named[0], key=named[0].__getitem__) == max(named[1], key=named[1].__getitem__))
    assert np.mean(same) >= 0.9

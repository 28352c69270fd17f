"""Samples of the training world on disk: made part by part, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.samples import SdmSamples
from braggwatch.models.apt.training.training_world import TrainingWorld, cut_samples
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import whole_file

_PART = 20
_WORLD_FILE = "world.json"


def make_samples(
    folder: Path,
    world: TrainingWorld,
    sdm: SdmInput,
    volumes: range,
    *,
    seed: int = 1,
    on_volume: Callable[[int, int], None] | None = None,
) -> SdmSamples:
    """Make the samples of some volumes, or read those that are there.

    Parameters
    ----------
    folder
        Receives ``samples-FIRST-LAST.npz`` files of 20 volumes and ``world.json``.
    volumes
        Numbers: other numbers are other volumes.
    on_volume
        Called with (volumes done, volumes in all).

    Raises
    ------
    InputError
        If the folder's samples are of another world, input or seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = json.dumps({"seed": seed, "world": world.model_dump(), "sdm": sdm.model_dump()}, indent=1)
    kept = folder / _WORLD_FILE
    if kept.exists() and _facts(kept.read_text(encoding="utf-8")) != _facts(facts):
        raise InputError(f"{folder} holds samples of another world: choose another folder, or remove it")
    kept.write_text(facts, encoding="utf-8")
    parts: list[SdmSamples] = []
    for first in range(volumes.start, volumes.stop, _PART):
        last = min(first + _PART, volumes.stop)
        path = folder / f"samples-{first:06d}-{last:06d}.npz"
        found = _read(path)
        if found is None:
            cut = [cut_samples(world, sdm, seed, number) for number in range(first, last)]
            found = SdmSamples(
                np.concatenate([one.maps for one in cut]),
                np.concatenate([one.labels for one in cut]),
                np.repeat(np.arange(first, last), [len(one.labels) for one in cut]),
            )
            with whole_file(path) as partial, partial.open("wb") as stream:
                np.savez(stream, maps=found.maps, labels=found.labels, volume=found.volume)
        parts.append(found)
        if on_volume is not None:
            on_volume(last - volumes.start, len(volumes))
    return SdmSamples(
        np.concatenate([one.maps for one in parts]),
        np.concatenate([one.labels for one in parts]),
        np.concatenate([one.volume for one in parts]),
    )


def _facts(text: str) -> tuple[int, TrainingWorld, SdmInput] | None:
    """Read what the samples are of; a field that an older version didn't know has its default."""
    try:
        found = json.loads(text)
        world, sdm = TrainingWorld.model_validate(found["world"]), SdmInput.model_validate(found["sdm"])
        return int(found["seed"]), world, sdm
    except (ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> SdmSamples | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return SdmSamples(archive["maps"], archive["labels"], archive["volume"])
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        return None

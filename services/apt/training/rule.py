"""Fit the rule of an order bundle: simulate whole volumes, score them with its network, fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from braggwatch.models.apt.order_rule import OrderRule
from braggwatch.models.apt.scoring import OrderScorer
from braggwatch.models.apt.training.rule_fitting import fit_rule, levelled_world, score_volume
from braggwatch.models.apt.training.training_world import TrainingWorld
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes import OnnxRuntime


def find_rule(
    bundle: Path,
    world: TrainingWorld,
    volumes: range,
    folder: Path,
    *,
    seed: int = 1,
    on_volume: Callable[[int, int], None] | None = None,
) -> OrderRule:
    """Fit the rule for a bundle's network.

    Parameters
    ----------
    bundle
        An order bundle, with or without a rule.
    world
        The world that its network was trained on; the tilt and spacing that levelling removes are removed here too.
    volumes
        Numbers of the volumes, preferably ones not used in training or calibration.
    folder
        Folder for the scores, which are reused for the same network.
    on_volume
        Called with (volumes scored, volumes in total).

    Raises
    ------
    BundleError
        If the bundle can't be used.
    ValueError
        As `braggwatch.models.apt.training.rule_fitting.fit_rule` does.
    """
    loaded = Bundle.load(bundle)
    scorer = OrderScorer(loaded, OnnxRuntime(loaded.model, threads=1))
    level = levelled_world(world)
    scored = []
    for done, number in enumerate(volumes, 1):
        scored.append(score_volume(scorer, level, seed, number, folder / f"volume-{number:07d}.npz"))
        if on_volume is not None:
            on_volume(done, len(volumes))
    return fit_rule(scored, seed=seed)

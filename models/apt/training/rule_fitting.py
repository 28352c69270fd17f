"""Fitting the rule of an order bundle to whole small volumes that its network has scored, and whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from braggwatch.models.apt.neighbourhood import neighbourhood_log_odds, rule_inputs
from braggwatch.models.apt.order_rule import INPUTS, OrderRule
from braggwatch.models.apt.scoring import OrderScorer, VoxelScores
from braggwatch.models.apt.training.training_world import TrainingWorld, draw_until_it_fits
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import label_ions
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import whole_file

_ROUND_NM = 3.0
_LEVEL_DEG = 1.5
_LEVEL_SPACING = (0.985, 1.015)
_BATCH = 4096
_STEPS_A_VOLUME = 10
_STEPS = (200, 1500)
_UNITS = 16
_COPIES = 3
_BINS = 10


@dataclass(frozen=True, slots=True)
class ScoredVolume:
    """Scores of a small volume and what is true of it.

    Attributes
    ----------
    maps
        (nx, ny, nz) float32 by name, as `neighbourhood_log_odds` takes them.
    known
        Voxels with a score that aren't at the rim.
    ordered
        (nx, ny, nz) bool: at least half of the ions are of an ordered precipitate.
    """

    maps: Mapping[str, NDArray[np.float32]]
    known: NDArray[np.bool_]
    ordered: NDArray[np.bool_]


def levelled_world(world: TrainingWorld) -> TrainingWorld:
    """Return the world as a scan sees it: planes made level and scaled before, more voxels away from the rim.

    What tilts and stretches are left is what levelling leaves where planes bend.
    """
    return world.model_copy(
        update={
            "edge_nm": world.edge_nm + _ROUND_NM,
            "largest_tilt_deg": min(world.largest_tilt_deg, _LEVEL_DEG),
            "spacing": (max(world.spacing[0], _LEVEL_SPACING[0]), min(world.spacing[1], _LEVEL_SPACING[1])),
        }
    )


def score_volume(scorer: OrderScorer, world: TrainingWorld, seed: int, number: int, kept: Path) -> ScoredVolume:
    """Simulate and score a volume of a levelled world, or read it where it was kept.

    Parameters
    ----------
    kept
        File of the scores; those of another network are made anew.
    """
    found = _read(kept, scorer.fingerprint)
    if found is None:
        spec, ordered, volume = draw_until_it_fits(world, np.random.default_rng([seed, number]))
        ions = label_ions(volume.cloud, spec.resolved_alloy().ranges())
        grid = VoxelGrid.around(ions.positions_nm, scorer.sdm.voxel_nm)
        scores = scorer.score(ions, grid).stacked()
        fraction = np.nan_to_num(grid.fraction(ions.positions_nm, volume.truth.ordered & ordered))
        found = scores, fraction.astype(np.float32)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(kept) as partial, partial.open("wb") as stream:
            np.savez(stream, scores=found[0], fraction=found[1], network=np.array(scorer.fingerprint))
    scores = VoxelScores(*found[0])
    return ScoredVolume(scores.maps(), scores.known, found[1] >= 0.5)


def fit_rule(volumes: Sequence[ScoredVolume], *, seed: int = 1) -> OrderRule:
    """Fit on four of five volumes, and say how well the rule does on the fifth.

    Raises
    ------
    InputError
        If there are fewer than five volumes, or none of those to fit has ordered voxels.
    """
    if len(volumes) < 5:
        raise InputError(f"{len(volumes)} volumes are too few for a rule: at least five are needed")
    test = list(volumes[::5])
    rest = [one for n, one in enumerate(volumes) if n % 5]
    # outside the data there is nothing, which a network would take for a sign of the rim: leave the outermost out
    x = np.concatenate([rule_inputs(one.maps, one.known, INPUTS)[_inner(one)] for one in rest])
    y = np.concatenate([one.ordered[one.known][_inner(one)] for one in rest])
    if not y.any():
        raise InputError("no voxel of these volumes is ordered: more volumes, or other radii, are needed")
    middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    steps = min(max(_STEPS_A_VOLUME * len(rest), _STEPS[0]), _STEPS[1])
    networks = [_fitted((x - middle) / scale, y, steps, seed * 100 + copy) for copy in range(_COPIES)]
    rule = OrderRule(
        inputs=INPUTS,
        middle=_rounded(middle),
        scale=_rounded(scale),
        hidden=tuple(row for hidden, _ in networks for row in map(_rounded, _numpy(hidden.weight))),
        hidden_bias=tuple(v for hidden, _ in networks for v in _rounded(_numpy(hidden.bias))),
        out=tuple(v for _, out in networks for v in _rounded(_numpy(out.weight)[0] / _COPIES)),
        out_bias=float(np.mean([_numpy(out.bias)[0] for _, out in networks])),
        volumes=len(rest),
        tested_volumes=len(test),
    )
    said = np.concatenate([neighbourhood_log_odds(rule, one.maps, one.known)[one.known][_inner(one)] for one in test])
    true = np.concatenate([one.ordered[one.known][_inner(one)] for one in test])
    hits = float((true & (said > rule.threshold)).sum())
    return rule.model_copy(
        update={
            "precision": round(hits / max(1, (said > rule.threshold).sum()), 4),
            "recall": round(hits / max(1, true.sum()), 4),
            "calibration_error": round(_calibration_error(said, true), 4),
        }
    )


def _inner(volume: ScoredVolume) -> NDArray[np.bool_]:
    inner = np.zeros_like(volume.known)
    inner[1:-1, 1:-1, 1:-1] = True
    return inner[volume.known]


def _fitted(x: NDArray[np.float32], y: NDArray[np.bool_], steps: int, seed: int) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(seed)
    hidden, out = nn.Linear(x.shape[1], _UNITS), nn.Linear(_UNITS, 1)
    inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))
    optimiser = torch.optim.AdamW([*hidden.parameters(), *out.parameters()], lr=2e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(len(inputs), (_BATCH,))
        logits = out(torch.tanh(hidden(inputs[some])))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return hidden, out


def _numpy(values: torch.Tensor) -> NDArray[np.float64]:
    return values.detach().numpy().astype(np.float64)


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(f"{v:.6g}") for v in values)


def _calibration_error(log_odds: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    said = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    gap = np.abs(np.bincount(bins, said, _BINS) - np.bincount(bins, true, _BINS))
    return float(gap.sum() / max(1, counts.sum()))


def _read(path: Path, fingerprint: str) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if str(archive["network"]) == fingerprint:
                return archive["scores"], archive["fraction"]
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        pass
    return None

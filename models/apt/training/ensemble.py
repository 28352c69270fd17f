"""Train the members of an ensemble, each on all volumes but one fold, with the loop that all systems share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.samples import SdmPresentation, SdmSamples
from braggwatch.models.learning.training import train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sdm import CentreVoxelConfig, CentreVoxelNet, SdmEnsemble
from braggwatch.sim.errors import InputError

MEMBERS = 5


def sdm_config(steps: int = 500, *, seed: int = 1, threads: int = 1, device: str = "cpu") -> TrainingConfig:
    """Return the knobs of a member's training."""
    return TrainingConfig(
        steps=steps,
        batch=192,
        learning_rate=4e-3,
        weight_decay=0.05,
        label_smoothing=0.0,
        ema=0.995,
        threads=threads,
        bf16=device != "cpu",
        seed=seed,
        checkpoint_every=100,
        validate_every=max(1, steps // 3),
        device=device,
    )


def train_ensemble(
    samples: SdmSamples,
    sdm: SdmInput,
    config: TrainingConfig,
    folder: Path,
    *,
    members: int = MEMBERS,
    on_step: Callable[[int, int, float], None] | None = None,
) -> SdmEnsemble:
    """Train each member on all folds of volumes but its own, which it is watched on.

    Parameters
    ----------
    folder
        A folder a member with log and checkpoint, resumed where there.
    on_step
        Called with (member, step, loss).

    Raises
    ------
    InputError
        As `braggwatch.models.learning.training.train` does, or if there is but one fold.
    """
    if members < 2:
        raise InputError("folds need at least two members")
    found: list[torch.nn.Module] = []
    for number in range(members):
        rest, own = samples.fold(number, members)
        torch.manual_seed(config.seed * 1000 + number)
        network = CentreVoxelNet(CentreVoxelConfig(pairs=sdm.shape[0], bins_x=sdm.bins_x))

        def step(done: int, loss: float, number: int = number) -> None:
            if on_step is not None:
                on_step(number, done, loss)

        found.append(
            train(network, rest, own, config, folder / f"member-{number}", step, presentation=SdmPresentation())
        )
    return SdmEnsemble(found).eval()

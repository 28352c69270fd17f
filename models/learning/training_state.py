"""Where a training run stands: everything that is needed to go on as if it had never been interrupted."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.sim.errors import InputError

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.jsonl"
Weights = dict[str, Tensor]


@dataclass(slots=True)
class TrainingState:
    """A run between two steps.

    Attributes
    ----------
    averaged
        The exponential moving average of ``model``.
    generator
        Of the augmentation, on the run's device.
    step
        Steps done.
    seconds
        Wall time spent so far, over all sessions.
    best_loss, best, waited
        Smallest validation loss, the averaged weights that had it, validations since; kept where there is a patience.
    """

    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best: Weights = field(default_factory=dict[str, Tensor])
    waited: int = 0

    def note_validation(self, loss: float) -> None:
        """Remember the averaged weights where they are the best so far."""
        if loss < self.best_loss:
            self.best_loss, self.waited = loss, 0
            self.best = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}
        else:
            self.waited += 1

    def save(self, path: Path, config: TrainingConfig) -> None:
        """Write a checkpoint; the file is complete or the former one."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "config": asdict(config),
                "seconds": self.seconds,
                "best_loss": self.best_loss,
                "best": self.best,
                "waited": self.waited,
                "generator": self.generator.get_state(),
                "dropout": _ambient_state(self.generator.device),
                "device": self.generator.device.type,
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path, config: TrainingConfig) -> None:
        """Go on from a checkpoint.

        On another kind of device than it was written on, the random streams start anew from the seed and the step.

        Raises
        ------
        InputError
            If it was made with another configuration or another network.
        """
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not config.same_run(state["config"]):
            raise InputError(f"{path} belongs to another configuration: choose another folder or remove it")
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"{path} belongs to another network: choose another folder or remove it") from error
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        # checkpoints of older versions hold no more than that
        self.seconds = float(state.get("seconds", 0.0))
        self.best_loss = float(state.get("best_loss", "inf"))
        self.best = dict(state.get("best", {}))
        self.waited = int(state.get("waited", 0))
        if state.get("device") == self.generator.device.type:
            self.generator.set_state(state["generator"])
            _set_ambient_state(self.generator.device, state["dropout"])
        else:
            self.generator.manual_seed(config.seed + self.step)
            torch.manual_seed(config.seed + self.step)


def averaged_weights(path: Path) -> Weights:
    """Read the weights that a training run would give now: the best where it keeps them, else the averaged ones.

    Raises
    ------
    InputError
        If the file is no checkpoint.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        return dict(state.get("best") or state["averaged"])
    except (KeyError, TypeError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise InputError(f"{path} is no checkpoint of a training run: {str(error).partition(chr(10))[0]}") from error


def start_average(model: nn.Module) -> nn.Module:
    """Copy a network to average it in."""
    return copy.deepcopy(model)


def trim_log(path: Path, step: int) -> None:
    """Drop what was logged after a step, and a line cut short: it will be, or was never, logged in full."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _ambient_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_ambient_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)

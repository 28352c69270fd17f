"""Where a training run stands: everything that is needed to go on as if it had never been interrupted."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from braggwatch.models.learning.run_identity import differences
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import writing

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
    identity
        What decides the result besides the configuration (`braggwatch.models.learning.run_identity`).
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
    identity: Mapping[str, str]
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
        """Write a checkpoint; the file is complete or the former one.

        Raises
        ------
        UnwritableError
            If the disk is full, or the like.
        """
        partial = path.with_suffix(".partial")
        # torch's own writer turns a full disk into an error of its own that doesn't say so
        content = BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "config": asdict(config),
                "identity": dict(self.identity),
                "seconds": self.seconds,
                "best_loss": self.best_loss,
                "best": self.best,
                "waited": self.waited,
                "generator": self.generator.get_state(),
                "dropout": _ambient_state(self.generator.device),
                "device": self.generator.device.type,
            },
            content,
        )
        try:
            with writing(path):
                with partial.open("wb") as stream:
                    stream.write(content.getbuffer())
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def restore(self, path: Path, config: TrainingConfig) -> None:
        """Go on from a checkpoint.

        On another kind of device than it was written on, the random streams start anew from the seed and the step.

        Raises
        ------
        InputError
            If it is of another run, can't be read, or is so old that it doesn't say what it learnt from.
        """
        state = _read(path)
        way_out = "give another folder with --work, or remove that file to begin anew"
        try:
            others = config.differences(state["config"])
            if "identity" in state:
                others += differences(state["identity"], self.identity)
            if others:
                raise InputError(f"{path} belongs to another training; {way_out}. What differs: {'; '.join(others)}")
            if "identity" not in state:
                raise InputError(
                    f"{path} was written by an older version, which didn't record what it learnt from: {way_out}"
                )
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
            self.seconds = float(state["seconds"])
            self.best_loss = float(state["best_loss"])
            self.best = dict(state["best"])
            self.waited = int(state["waited"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path} is no checkpoint of this network ({_first_line(error)}): {way_out}") from error
        if state["device"] == self.generator.device.type:
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
    state = _read(path)
    try:
        return dict(state.get("best") or state["averaged"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no checkpoint of a training run: {_first_line(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    # read here: of a file that ends too early torch's own reader may say "invalid argument"
    content = path.read_bytes()
    try:
        state = torch.load(BytesIO(content), weights_only=True, map_location="cpu")
    except (OSError, KeyError, TypeError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise InputError(
            f"{path} is no checkpoint of a training run, or is cut short ({_first_line(error)}): remove it to begin "
            "anew"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is no checkpoint of a training run: remove it to begin anew")
    return state


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


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

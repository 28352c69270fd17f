"""One plain training loop: resumable, logged as JSON lines, weights averaged (EMA).

Classes and volumes come from a `Source`; which system they belong to is no concern of the loop.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from braggwatch.models.learning.device import check_device
from braggwatch.models.learning.prepared_batches import PreparedBatch, PreparedBatches
from braggwatch.models.learning.presentation import Presentation
from braggwatch.models.learning.run_identity import run_identity
from braggwatch.models.learning.run_lock import only_training_in
from braggwatch.models.learning.sample_stream import (
    Feed,
    Prediction,
    Source,
    TellsClean,
    batches,
    predict,
    whereabouts,
)
from braggwatch.models.learning.training_config import TrainingConfig, one_cycle, paper_config, rate_at
from braggwatch.models.learning.training_state import CHECKPOINT_FILE, LOG_FILE, TrainingState, start_average, trim_log
from braggwatch.sim.errors import BraggwatchError, InputError
from braggwatch.sim.whole_file import writing

__all__ = [
    "Prediction",
    "Source",
    "TellsClean",
    "TrainingConfig",
    "TrainingDivergedError",
    "one_cycle",
    "paper_config",
    "predict",
    "train",
]

logger = logging.getLogger(__name__)

_LOG_EVERY = 20
_VALIDATION_SEED = 977


class TrainingDivergedError(BraggwatchError, ValueError):
    """The loss is no number any more; the last checkpoint is sound."""


def train(
    model: nn.Module,
    source: Source,
    validation: Source,
    config: TrainingConfig,
    folder: Path,
    on_step: Callable[[int, float], None] | None = None,
    *,
    presentation: Presentation,
    settings: Mapping[str, str] | None = None,
) -> nn.Module:
    """Train a network and return the averaged one, on the CPU.

    Parameters
    ----------
    model
        Returns (logits, features).
    source, validation
        Samples to learn from and to watch. Clean ones (`TellsClean`) are given noise and the like on the way.
    config
        Knobs.
    folder
        Receives ``log.jsonl`` and ``checkpoint.pt``. A checkpoint of the very same training is resumed: same
        configuration, samples, presentation and first weights.
    on_step
        Called with (step, loss), for a progress bar.
    presentation
        What of a sample the network is shown.
    settings
        What is to be named, should the folder's checkpoint be of other data or weights, e.g. ``{"--from": "..."}``.

    Raises
    ------
    InputError
        If the folder's checkpoint is of another training or can't be read, another training is running there, the
        device isn't here, a sample holds what is no number, or there is not even one batch.
    TrainingDivergedError
        If the loss is no finite number.
    """
    check_device(config.device)
    with only_training_in(folder):
        return _train(model, source, validation, config, folder, on_step, presentation, settings or {})


def _train(
    model: nn.Module,
    source: Source,
    validation: Source,
    config: TrainingConfig,
    folder: Path,
    on_step: Callable[[int, float], None] | None,
    presentation: Presentation,
    settings: Mapping[str, str],
) -> nn.Module:
    torch.set_num_threads(config.threads)
    identity = run_identity(model, source, validation, presentation, settings)
    torch.manual_seed(config.seed)
    device = torch.device(config.device)
    model = model.to(device)
    state = TrainingState(
        model=model,
        averaged=start_average(model),
        optimiser=_optimiser(model, config),
        generator=torch.Generator(device).manual_seed(config.seed),
        identity=identity,
    )
    checkpoint = folder / CHECKPOINT_FILE
    if checkpoint.exists():
        state.restore(checkpoint, config)
        logger.warning("%s", _taken_up(checkpoint, state, config))
    trim_log(folder / LOG_FILE, state.step)
    order = batches(len(source), config.batch, config.seed, state.step)
    watched = Feed(validation, config.device)
    feed = Feed(source, config.device)
    began = time.monotonic() - state.seconds
    with (
        writing(folder / LOG_FILE),
        (folder / LOG_FILE).open("a", encoding="utf-8") as log,
        PreparedBatches(feed, order, config, presentation, state.generator.get_state()) as stream,
    ):
        while not _is_finished(state, config):
            batch = next(stream)
            try:
                record = _step(state, batch, config)
            except TrainingDivergedError:
                _blame_samples(source, batch)
                raise
            if on_step is not None:
                on_step(state.step, record["loss"])
            last = state.step == config.steps
            if state.step % config.validate_every == 0 or last:
                seen = predict(
                    state.averaged,
                    watched,
                    bf16=config.bf16,
                    # where the network learns from clean patterns it is watched on clean ones
                    nuisance_seed=_VALIDATION_SEED if config.nuisance else None,
                    presentation=presentation,
                )
                record |= {"validation_accuracy": seen.accuracy, "validation_loss": seen.loss}
                if config.patience:
                    state.note_validation(seen.loss)
                    last = last or state.waited >= config.patience
            state.seconds = time.monotonic() - began
            if state.step % _LOG_EVERY == 0 or "validation_accuracy" in record:
                log.write(json.dumps({**record, "seconds": state.seconds}) + "\n")
                log.flush()
            if state.step % config.checkpoint_every == 0 or last:
                state.save(checkpoint, config)
    if state.best:
        state.averaged.load_state_dict(state.best)
    return state.averaged.cpu()


def _is_finished(state: TrainingState, config: TrainingConfig) -> bool:
    return state.step >= config.steps or bool(config.patience and state.waited >= config.patience)


def _taken_up(checkpoint: Path, state: TrainingState, config: TrainingConfig) -> str:
    if _is_finished(state, config):
        return f"{checkpoint} holds this very training, finished at step {state.step}: no step is left to do"
    return f"goes on from {checkpoint} at step {state.step} of {config.steps}"


def _blame_samples(source: Source, batch: PreparedBatch) -> None:
    """Name the samples that hold what is no number, where they are why the loss is none."""
    finite = batch.samples.flatten(1).isfinite().all(dim=1).cpu().numpy()
    bad = [whereabouts(source, int(index)) for index in batch.indices[~finite]]
    if bad:
        raise InputError(f"a sample holds values that are no numbers, so nothing can be learnt: {', '.join(bad)}")


def _optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay
        )
    # RMSprop's memory as in Keras, which publications mean: with torch's own the first steps are ten times the rate
    rmsprop = partial(torch.optim.RMSprop, alpha=0.9, eps=1e-7)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": rmsprop}
    return kinds[config.optimiser](model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


def _step(state: TrainingState, batch: PreparedBatch, config: TrainingConfig) -> dict[str, float]:
    rate = rate_at(state.step, config)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.model.train()
    with torch.autocast(batch.shown.device.type, torch.bfloat16, enabled=config.bf16):
        logits, _ = state.model(batch.shown)
    loss = functional.cross_entropy(logits.float(), batch.truth, label_smoothing=config.label_smoothing)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingDivergedError(f"the loss is {value} at step {state.step + 1}: try a smaller learning rate")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm or math.inf)
    if bool(norm.isfinite()):
        state.optimiser.step()
    else:
        # half precision overflows now and then in the backward pass: one such step would spoil all weights for good
        logger.warning("step %d: the gradient is no finite number; its update is left out", state.step + 1)
    _average(state.averaged, state.model, min(config.ema, (state.step + 1) / (state.step + 10)))
    state.generator.set_state(batch.random_state)
    state.step += 1
    return {"step": state.step, "loss": value, "rate": rate}


def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for mine, theirs in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

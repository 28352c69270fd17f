"""Explanations on demand beside a running service: one at a time, remembered, never in the way of a verdict."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.explain.occlusion import Fill, Occlusion, occlude
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.sim.bounded import Bounded
from braggwatch.sim.errors import BraggwatchError

logger = logging.getLogger(__name__)

_REMEMBERED = 64
_NICENESS = 10


class BusyError(BraggwatchError, RuntimeError):
    """Too many explanations wait already; ask again."""


class ExplanationRecord(BaseModel):
    """What hiding parts of a run's model input does to the class that the model finds most probable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: str
    revision: int
    label: str = Field(description="The class explained: the most probable one of the verdict.")
    probability: FiniteFloat = Field(description="Its probability with nothing hidden, without mirror images.")
    largest_drop: FiniteFloat = Field(description="Largest fall of that probability from hiding one block.")
    fill: Fill = Field(description="What took the place of what was hidden: 'zero' or 'radial'.")
    drop: list[list[list[FiniteFloat]]] = Field(description="Fall of the probability, by block (8, 8, 8).")
    log_odds_drop: list[list[list[FiniteFloat]]] = Field(description="Fall of the log-odds, by block (8, 8, 8).")
    slab_drop: list[list[FiniteFloat]] = Field(description="Fall of the probability, by slab across each axis (3, 16).")
    slab_log_odds_drop: list[list[FiniteFloat]] = Field(description="Fall of the log-odds, by slab (3, 16).")
    evaluations: int = Field(description="Volumes that the network was run on.")
    seconds: FiniteFloat = Field(description="Wall time of the computation.")
    model_id: str
    same_model: bool = Field(description="Whether the model that explains is the one that gave the verdict.")


@dataclass(frozen=True, slots=True)
class _Key:
    run_uid: str
    revision: int
    fill: Fill


class Explainer:
    """Computes occlusion maps in a thread of its own, with its own session at low priority.

    Parameters
    ----------
    bundle
        The model that explains.
    runtime
        What runs it; None opens ONNX Runtime with one thread when the first explanation is asked for.
    max_waiting
        Explanations that may wait; beyond it `submit` refuses.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime | None = None, *, max_waiting: int = 4) -> None:
        self._bundle = bundle
        self._runtime = runtime
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: dict[_Key, Future[ExplanationRecord]] = {}
        self._done = Bounded[_Key, ExplanationRecord](_REMEMBERED)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="braggwatch-explain", initializer=_give_way)

    def submit(
        self, result: ScreeningResult, counts: NDArray[np.float32], fill: Fill = "zero"
    ) -> Future[ExplanationRecord]:
        """Ask for a run's explanation; a second request for the same shares the first one's work.

        Raises
        ------
        BusyError
            If too many wait already, or the service stops.
        """
        key = _Key(result.run_uid, result.revision, fill)
        with self._lock:
            if (known := self._done.get(key)) is not None:
                self._done.move_to_end(key)
                ready: Future[ExplanationRecord] = Future()
                ready.set_result(known)
                return ready
            if (under_way := self._open.get(key)) is not None:
                return under_way
            if self._stopping.is_set() or len(self._open) > self._max_waiting:
                raise BusyError(f"{len(self._open)} explanations wait already")
            future = self._executor.submit(self._compute, key, result, counts)
            self._open[key] = future
        future.add_done_callback(lambda ended: self._finish(key, ended))
        return future

    def close(self) -> None:
        """Stop what is under way, within a batch, and take no more."""
        self._stopping.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _compute(self, key: _Key, result: ScreeningResult, counts: NDArray[np.float32]) -> ExplanationRecord:
        if self._runtime is None:
            self._runtime = OnnxRuntime(self._bundle.model, threads=1)
        probabilities = result.verdict.probabilities
        manifest = self._bundle.manifest
        best = max(probabilities, key=lambda name: probabilities[name]) if probabilities else None
        found = occlude(
            self._runtime,
            manifest.classes,
            counts,
            shape=manifest.input.shape,
            label=best if best in manifest.classes else None,
            fill=key.fill,
            stop=self._stopping.is_set,
        )
        logger.info("run %s explained: %d volumes in %.1f s", key.run_uid, found.evaluations, found.seconds)
        spoke = result.verdict.model
        return _record(key, found, manifest.id, same=spoke is not None and spoke.sha256 == self._bundle.sha256)

    def _finish(self, key: _Key, ended: Future[ExplanationRecord]) -> None:
        with self._lock:
            self._open.pop(key, None)
            if not ended.cancelled() and ended.exception() is None:
                self._done[key] = ended.result()


def _record(key: _Key, found: Occlusion, model_id: str, *, same: bool) -> ExplanationRecord:
    return ExplanationRecord(
        run_uid=key.run_uid,
        revision=key.revision,
        label=found.label,
        probability=found.probability,
        largest_drop=float(found.drop.max()),
        fill=found.fill,
        drop=found.drop.tolist(),
        log_odds_drop=found.log_odds_drop.tolist(),
        slab_drop=found.slab_drop.tolist(),
        slab_log_odds_drop=found.slab_log_odds_drop.tolist(),
        evaluations=found.evaluations,
        seconds=found.seconds,
        model_id=model_id,
        same_model=same,
    )


def _give_way() -> None:
    """Lower this thread's priority below the verdicts'; only Linux knows priorities of threads."""
    if Path("/proc/self/task").is_dir():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

"""One runtime until it fails, then ONNX Runtime on the CPU: live scans don't wait until a GPU is mended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import (
    OUTPUT_NAMES,
    InferenceError,
    Runtime,
    RuntimeOutput,
    RuntimeUnavailableError,
)
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.models.runtimes.self_test import GoldenMismatchError

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle

logger = logging.getLogger(__name__)

# What every machine can run, and what takes over from any other runtime.
_EVERYWHERE = "onnxruntime-cpu"


class TakeoverRuntime:
    """Runs a bundle; where its runtime fails on a batch, the CPU runs that batch and all that follow.

    A failure is an error of the runtime or its driver, or an output that is not a finite number. Where the CPU fails on
    the same batch, the batch is at fault: the error goes on and nothing is replaced.

    Parameters
    ----------
    bundle
        What is run.
    runtime
        Runs it as long as it can.
    threads
        CPU threads of what takes over.
    on_takeover
        Called once, with the reason in words, when the CPU has taken over; must not raise.
    """

    def __init__(
        self, bundle: Bundle, runtime: Runtime, threads: int = 2, on_takeover: Callable[[str], None] | None = None
    ) -> None:
        self._bundle = bundle
        self._current = runtime
        self._threads = threads
        self._on_takeover = on_takeover
        self._lock = threading.Lock()

    @property
    def current(self) -> Runtime:
        """What runs the bundle now."""
        return self._current

    @property
    def name(self) -> str:
        """Name of what runs the bundle now."""
        return self._current.name

    @property
    def version(self) -> str:
        """Version of what runs the bundle now."""
        return self._current.version

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run (B, ...) float32 raw counts; raises :class:`InferenceError` where the CPU can't run them either."""
        return self.run_by(lambda runtime: runtime.run(batch), lambda: batch)

    def run_by(
        self, work: Callable[[Runtime], RuntimeOutput], batch: Callable[[], NDArray[np.float32]]
    ) -> RuntimeOutput:
        """Run a batch that one runtime may take from elsewhere than another.

        Parameters
        ----------
        work
            Runs it with a runtime.
        batch
            Makes the batch in host memory, for the CPU where ``work`` has failed.

        Raises
        ------
        InferenceError
            Where the CPU can't run it either.
        """
        runtime = self._current
        try:
            return _finite(work(runtime))
        except RuntimeError as error:  # a driver's own errors too
            return self._run_instead(runtime, error, batch())

    def _run_instead(self, failed: Runtime, error: RuntimeError, batch: NDArray[np.float32]) -> RuntimeOutput:
        if failed.name == _EVERYWHERE:
            raise InferenceError(str(error)) from error
        with self._lock:
            if self._current is not failed:
                return _finite(self._current.run(batch))
            try:
                runtime, _ = open_runtime(self._bundle, _EVERYWHERE, self._threads)
                output = _finite(runtime.run(batch))
            except (InferenceError, RuntimeUnavailableError, GoldenMismatchError) as second:
                raise InferenceError(f"{error}; {_EVERYWHERE}: {second}") from error
            self._current = runtime
        what = f"{failed.name} failed while it ran {self._bundle.manifest.id}"
        reason = f"{what}, {_EVERYWHERE} goes on until a restart: {error}"
        logger.warning("%s", reason)
        if self._on_takeover is not None:
            self._on_takeover(reason)
        return output


def _finite(output: RuntimeOutput) -> RuntimeOutput:
    for name in OUTPUT_NAMES:
        if not np.isfinite(getattr(output, name)).all():
            raise InferenceError(f"the network's {name} are not finite numbers")
    return output

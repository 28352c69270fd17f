"""Batches made ready one ahead: while a network learns from one, the next is read and augmented in another thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.learning.presentation import Presentation
from braggwatch.models.learning.sample_stream import Feed
from braggwatch.models.learning.training_config import TrainingConfig


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """What one step learns from.

    Attributes
    ----------
    indices
        (B,) which samples of the source.
    samples
        (B, ...) as stored.
    shown
        (B, ...) as the network is shown them.
    truth
        (B,) int64 class indices.
    random_state
        Of the augmentation's generator, once this batch was made: where a run goes on after it.
    """

    indices: NDArray[np.int64]
    samples: Tensor
    shown: Tensor
    truth: Tensor
    random_state: Tensor


class PreparedBatches:
    """An endless iterator over augmented batches, to be used as a context.

    The draws are those of making each batch when it is asked for: one thread makes them, in order.

    Parameters
    ----------
    feed, order
        Where samples come from, and which of them make up each batch.
    random_state
        Of a generator on the feed's device: where the augmentation's draws begin.
    """

    def __init__(
        self,
        feed: Feed,
        order: Iterator[NDArray[np.int64]],
        config: TrainingConfig,
        presentation: Presentation,
        random_state: Tensor,
    ) -> None:
        self._feed, self._order, self._config, self._presentation = feed, order, config, presentation
        self._generator = torch.Generator(feed.device)
        self._generator.set_state(random_state)
        # a thread starts with as many OpenMP threads as there are cores, whatever the process has set
        self._thread = ThreadPoolExecutor(1, "batches", torch.set_num_threads, (config.threads,))
        self._next: Future[PreparedBatch] | None = None

    def __enter__(self) -> Self:
        """Begin with the first batch."""
        self._next = self._thread.submit(self._prepare)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the batch that is being made."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> PreparedBatch:
        """Return a batch, and begin with the next."""
        if self._next is None:
            raise RuntimeError("batches are prepared inside a 'with' block")
        batch = self._next.result()
        self._next = self._thread.submit(self._prepare)
        return batch

    def _prepare(self) -> PreparedBatch:
        indices = next(self._order)
        samples, truth, clean = self._feed.batch(indices)
        shown = self._presentation.to_learn(samples, clean, self._config, self._generator)
        return PreparedBatch(indices, samples, shown, truth, self._generator.get_state())

"""Batches prepared ahead are the ones that would have been made when asked for."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.learning.prepared_batches import PreparedBatches
from braggwatch.models.learning.sample_stream import Feed, batches
from braggwatch.models.learning.training_config import TrainingConfig

CONFIG = TrainingConfig(batch=4, threads=1)
PATTERNS = PatternPresentation()


class Clean:
    """Noiseless patterns, each another cube crystal."""

    def __init__(self, count: int = 10) -> None:
        one = np.sinc((np.arange(64.0) - 32) / 3.5) ** 2
        cube = 1e6 * one[:, None, None] * one[:, None] * one
        self.volumes = np.stack([np.log1p(cube / (number + 1)) for number in range(count)]).astype(np.float16)

    def __len__(self) -> int:
        return len(self.volumes)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        return self.volumes[indices], indices % 3

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.ones(len(indices), dtype=bool)


class Broken(Clean):
    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        raise OSError("the shard is gone")


def random_state(seed: int) -> Tensor:
    return torch.Generator().manual_seed(seed).get_state()


def test_they_are_what_one_batch_after_another_would_be() -> None:
    source = Clean()
    feed = Feed(source)
    generator = torch.Generator().manual_seed(5)
    with PreparedBatches(feed, batches(len(source), 4, 1), CONFIG, PATTERNS, random_state(5)) as stream:
        for indices, batch in zip(islice(batches(len(source), 4, 1), 3), stream, strict=False):
            samples, truth, clean = feed.batch(indices)
            torch.testing.assert_close(batch.shown, PATTERNS.to_learn(samples, clean, CONFIG, generator))
            assert torch.equal(batch.truth, truth)
            assert np.array_equal(batch.indices, indices)
            assert torch.equal(batch.random_state, generator.get_state())


def test_a_run_that_goes_on_from_a_batch_sees_what_follows_it() -> None:
    source = Clean()
    feed = Feed(source)
    with PreparedBatches(feed, batches(len(source), 4, 1), CONFIG, PATTERNS, random_state(5)) as stream:
        first, second = next(stream), next(stream)
    with PreparedBatches(feed, batches(len(source), 4, 1, 1), CONFIG, PATTERNS, first.random_state) as stream:
        again = next(stream)
    torch.testing.assert_close(again.shown, second.shown)


def test_what_goes_wrong_while_preparing_is_raised_where_the_batch_is_wanted() -> None:
    with (
        PreparedBatches(Feed(Broken()), batches(10, 4, 1), CONFIG, PATTERNS, random_state(1)) as stream,
        pytest.raises(OSError, match="the shard is gone"),
    ):
        next(stream)


def test_they_are_prepared_inside_a_with_block_alone() -> None:
    source = Clean()
    with pytest.raises(RuntimeError, match="with"):
        next(PreparedBatches(Feed(source), batches(len(source), 4, 1), CONFIG, PATTERNS, random_state(1)))

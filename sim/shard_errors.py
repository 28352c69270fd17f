"""What is raised for shards of samples, whichever system's they are."""

from __future__ import annotations

from braggwatch.sim.errors import BraggwatchError


class ShardError(BraggwatchError, ValueError):
    """A shard that can't be read; the message names it and says why."""


class ForeignShardError(BraggwatchError, ValueError):
    """A good shard of another data set where one's own should be."""

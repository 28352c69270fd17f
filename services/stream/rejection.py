"""Why a message off the wire is refused, and the bounds it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from braggwatch.sim.errors import BraggwatchError


class RejectReason(StrEnum):
    """One word for each cause, fit for a metric's label."""

    TOO_LARGE = "too_large"
    PARTS = "parts"
    PREFIX = "prefix"
    UNKNOWN_NAME = "unknown_name"
    FORMAT = "format"
    TRUNCATED = "truncated"
    FORBIDDEN_CODE = "forbidden_code"
    FORBIDDEN_DTYPE = "forbidden_dtype"
    FORBIDDEN_TYPE = "forbidden_type"
    SHAPE = "shape"
    NESTING = "nesting"
    SIZE = "size"
    MALFORMED = "malformed"
    SCHEMA = "schema"


class RejectedMessage(BraggwatchError):  # noqa: N818 (named for what it is: the receiver's normal business, not a failure)
    """A message that is not taken. ``reason`` is for counting, the text for the log.

    The text never repeats the payload, which may be hostile or large; names in it are cut to 80 characters.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Bounds that a message must keep; each is checked before memory is taken for what it bounds.

    Attributes
    ----------
    max_message_bytes
        Whole message on the wire.
    max_depth
        Containers within containers.
    max_nodes
        Values in one document, containers included; an array counts as one.
    max_dimensions
        Axes of an array.
    """

    max_message_bytes: int = 64 * 1024 * 1024
    max_depth: int = 32
    max_nodes: int = 500_000
    max_dimensions: int = 8


def clip(text: str) -> str:
    """Shorten a name from the wire to what may stand in a log line: printable, at most 80 characters."""
    return ascii(text[:80])[1:-1]

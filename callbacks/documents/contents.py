"""What a run's documents hold, for people: data keys with shapes, streams, motors, how it ended."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.models.valid_text import SoundText

_NAMED: Final = 12
_LONGEST: Final = 60


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyContents(_Frozen):
    """One data key of a stream."""

    name: SoundText
    shape: tuple[int, ...] = Field(
        default=(), description="As the first event has it, else as the descriptor says; empty for a number."
    )
    dtype: SoundText | None = Field(default=None, description="e.g. '<u2', or 'array' where no more is said.")
    external: bool = Field(default=False, description="Whether its values lie in files.")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The shape without the leading ones that say how many frames an event has."""
        shape = self.shape
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        return shape

    @property
    def is_image(self) -> bool:
        """Whether it may hold detector frames: two axes or more, neither of them one value long."""
        return len(self.frame_shape) >= 2 and min(self.frame_shape[-2:]) > 1

    @property
    def words(self) -> str:
        """Name and shape, e.g. ``'det' (516 × 516)``."""
        shape = " × ".join(str(side) for side in self.frame_shape[-4:])
        return f"{quoted(self.name)} ({shape})" if len(self.frame_shape) > 1 else quoted(self.name)


class StreamContents(_Frozen):
    """One stream of a run."""

    name: SoundText
    keys: tuple[KeyContents, ...]
    configuration: tuple[SoundText, ...] = Field(default=(), description="Fields of its devices' configuration.")
    events: int = Field(default=0, description="Events that came, or that files hold.")

    @property
    def words(self) -> str:
        """Its keys, images first, e.g. ``'det' (516 × 516), 'th' in stream 'primary'``."""
        ordered = sorted(self.keys, key=lambda key: (not key.is_image, key.name))
        return f"{_listed([key.words for key in ordered])} in stream {quoted(self.name)}"


class RunContents(_Frozen):
    """What the documents of one run hold, however incomplete or wrong they are."""

    run_uid: SoundText
    scan_id: int | None = None
    plan_name: SoundText | None = None
    motors: tuple[SoundText, ...] = Field(default=(), description="As the start document names them.")
    num_points: int | None = None
    original_run_uid: SoundText | None = Field(default=None, description="As the start document carries it.")
    start_numbers: tuple[SoundText, ...] = Field(default=(), description="Fields of the start document with a number.")
    states_fly: bool = Field(default=False, description="Whether the start document states a fly scan's angles.")
    streams: tuple[StreamContents, ...] = ()
    has_start: bool = False
    exit_status: SoundText | None = Field(default=None, description="None without a stop document.")
    exit_reason: SoundText | None = None
    refused: int = Field(default=0, description="Documents that were refused.")
    first_refusal: SoundText | None = Field(default=None, description="Why the first of them was.")

    @property
    def named(self) -> str:
        """Its uid, with the scan number where there is one."""
        return self.run_uid if self.scan_id is None else f"{self.run_uid} (scan {self.scan_id})"

    @property
    def images(self) -> tuple[KeyContents, ...]:
        """The keys that may hold detector frames, outside the baseline stream."""
        return tuple(key for stream in self.streams if stream.name != "baseline" for key in stream.keys if key.is_image)

    @property
    def in_words(self) -> str:
        """Every stream with its keys, e.g. ``'det' (516 × 516), 'th' in stream 'primary'``."""
        streams = [stream.words for stream in self.streams]
        more = [f"{len(streams) - _NAMED} more streams"] if len(streams) > _NAMED else []
        return "; ".join(streams[:_NAMED] + more) or "no data at all"

    @property
    def ending(self) -> str:
        """How it ended, e.g. ``ended with fail: beam dump``."""
        if self.exit_status is None:
            return "has no stop document"
        reason = f": {self.exit_reason:.200}" if self.exit_reason else ""
        return f"ended with {self.exit_status:.60}{reason}"


def quoted(name: str) -> str:
    """Return a name between quotes, shortened if it is very long."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")


def _listed(words: list[str]) -> str:
    more = [f"{len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return ", ".join(words[:_NAMED] + more) or "nothing"

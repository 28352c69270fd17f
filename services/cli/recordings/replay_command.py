"""``braggwatch replay``: a recording becomes live documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console, write_json
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.services.recording.replay import Serializer


def replay(
    file: Annotated[Path, typer.Argument(help="Recording.", metavar="FILE")],
    to: Annotated[str, typer.Option(help="The proxy's in-address.")] = "127.0.0.1:5577",
    speed: Annotated[str, typer.Option(help="'recorded', 'max' or a factor such as 'x10'.")] = "recorded",
    serializer: Annotated[str, typer.Option(help="'pickle' (Bluesky's default) or 'msgpack'.")] = "msgpack",
    prefix: Annotated[str, typer.Option(help="Prefix of the documents, no blank.")] = "",
    new_uids: Annotated[
        bool, typer.Option("--new-uids", help="A new run: every uid replaced, wherever it is referred to.")
    ] = False,
    new_times: Annotated[bool, typer.Option("--new-times", help="Move the documents' times to now.")] = False,
    frames: Annotated[str | None, typer.Option(help="Only these frames, FIRST:STOP, as a whole shorter scan.")] = None,
    root: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="External files lie elsewhere here; repeatable.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Replay so many times (with --new-uids, if more than one).")] = 1,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a subscriber; 0 does not wait.")] = 10.0,
    allow_truncated: Annotated[bool, typer.Option(help="Take a recording that was cut short.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object a replay.")] = False,
) -> None:
    """Publish a recording to a 0MQ proxy as if the scan ran now.

    It goes through the same socket, proxy and decoder as a live scan. Nothing is sent before somebody subscribed.

    Example: **braggwatch replay scan54.bwrec --speed x100 --new-uids --to 127.0.0.1:5577**
    """
    with clear_errors():
        from rich.progress import Progress

        from braggwatch.services.recording.frame_range import FrameRange
        from braggwatch.services.recording.recordings import read_recording, summarise
        from braggwatch.services.recording.replay import (
            ReadyPublisher,
            ReplayOptions,
            parse_root,
            parse_speed,
        )
        from braggwatch.services.recording.replay import replay as publish_recording
        from braggwatch.sim.validated import validated

        if repeat > 1 and not new_uids:
            raise typer.BadParameter("--repeat needs --new-uids: a run's uid is its name", param_hint="--repeat")
        with validated("options"):
            options = ReplayOptions(
                speed=parse_speed(speed),
                new_uids=new_uids,
                new_times=new_times,
                roots=tuple(parse_root(text) for text in root or []),
                frames=FrameRange.parse(frames) if frames is not None else None,
            )
        form = _serializer(serializer)
        total = summarise(file).documents
        publisher = ReadyPublisher(to, prefix=prefix.encode(), serializer=form)
        try:
            if wait:
                publisher.wait_for_subscriber(wait)
            for _ in range(repeat):
                with Progress(console=error_console(), transient=True) as bar:
                    task = bar.add_task("publishing", total=total)
                    report = publish_recording(
                        read_recording(file, allow_truncated=allow_truncated),
                        publisher,
                        options,
                        progress=lambda done, bar=bar, task=task: bar.update(task, completed=done),
                    )
                if as_json:
                    write_json(report)
                else:
                    runs = ", ".join(report.runs)
                    console().print(
                        f"{report.documents} documents, {report.frames} events in {report.seconds:.2f} s: {runs}"
                    )
        finally:
            publisher.close()


def _serializer(name: str) -> Serializer:
    from braggwatch.services.recording.replay import Serializer

    for one in Serializer:
        if one.value == name:
            return one
    raise InputError(f"the serializer is {' or '.join(repr(one.value) for one in Serializer)}, not {name!r}")

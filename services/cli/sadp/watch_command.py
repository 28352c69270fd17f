"""``braggwatch sadp watch`` and ``braggwatch sadp merlin``: publish sources without Bluesky as live data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json

if TYPE_CHECKING:
    import threading

    from rich.progress import Progress

    from braggwatch.services.recording.replay import ReadyPublisher
    from braggwatch.services.sadp.sources.folder_watch import FolderWatch
    from braggwatch.services.sadp.sources.pattern_documents import PatternSource

_To = Annotated[str, typer.Option(help="The proxy's in-address.")]
_Prefix = Annotated[str, typer.Option(help="Prefix of the documents; no spaces.")]
_Wait = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a subscriber.")]
_Sample = Annotated[str | None, typer.Option(help="Sample name, for the start document.")]
_Scale = Annotated[
    float | None,
    typer.Option("--inv-nm-per-px", min=1e-9, help="Scale in 1/nm per pixel; default: the file's own, if any."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print a report as one JSON object at the end.")]


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, including subfolders.", metavar="FOLDER")],
    to: _To = "127.0.0.1:5577",
    inv_nm_per_px: _Scale = None,
    name_pattern: Annotated[
        str | None,
        typer.Option(
            "--name-pattern",
            help="Regular expression on the relative path with groups particle, visit and zone; by default a picture's "
            "folder is its particle, and each picture is a separate zone visit.",
        ),
    ] = None,
    sample: _Sample = None,
    dataset: Annotated[str | None, typer.Option(help="HDF5: dataset of the pictures.")] = None,
    settle: Annotated[float, typer.Option(min=0.0, help="Seconds a file must be unchanged before it is read.")] = 1.0,
    idle: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="Seconds without a new picture that end a run; the next picture begins another. Less than the "
            "service's assembly.run_timeout_s.",
        ),
    ] = 300.0,
    once: Annotated[bool, typer.Option("--once", help="Publish existing pictures, then end.")] = False,
    afresh: Annotated[bool, typer.Option("--afresh", help="Ignore what was published before.")] = False,
    journal: Annotated[
        Path | None, typer.Option(help="File that records what was published; default: in the folder itself.")
    ] = None,
    prefix: _Prefix = "",
    wait: _Wait = 10.0,
    as_json: _Json = False,
) -> None:
    """Publish a folder's pictures (tif, png, mrc, dm3, dm4, mib, hdf5) as they arrive, for the service to classify.

    A file still being written is left until it is unchanged and can be read. Runs until Ctrl-C or SIGTERM; started
    again, it continues with new pictures. The odds of a particle are those of one run. Exit code 1 if a file was given
    up.

    Example: **braggwatch sadp watch session/ --name-pattern "(?P<particle>grain[0-9]+)_(?P<visit>[0-9]+)"**
    """
    with clear_errors():
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from braggwatch.services.live.supervision import stop_on_signal
        from braggwatch.services.recording.replay import ReadyPublisher, Serializer
        from braggwatch.services.sadp.sources.folder_watch import JOURNAL_FILE, FolderWatch, WatchOptions
        from braggwatch.services.sadp.sources.pattern_documents import PatternSource
        from braggwatch.sim.validated import validated

        with validated("options"):
            options = WatchOptions(settle_s=settle, name_pattern=name_pattern, dataset=dataset)
        if afresh:
            (journal or folder / JOURNAL_FILE).unlink(missing_ok=True)
        watched = FolderWatch(folder, options, journal=journal)
        with validated("options"):
            source = PatternSource(inv_nm_per_px=inv_nm_per_px, sample=sample, origin=f"folder:{folder.name}")
        publisher = ReadyPublisher(to, prefix=prefix.encode(), serializer=Serializer.MSGPACK)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        try:
            publisher.wait_for_subscriber(wait)
            with stop_on_signal() as stop, Progress(*columns, console=error_console(), transient=True) as bar:
                runs = _watch(watched, publisher, source, stop, bar, poll_s=options.poll_s, idle_s=idle, once=once)
        finally:
            publisher.close()
        report = watched.report
        if as_json:
            write_json(
                {"files": report.files, "frames": report.frames, "given_up": report.given_up, "runs": list(runs)}
            )
        else:
            console().print(f"{report.frames} patterns of {report.files} files in {len(runs)} runs: {', '.join(runs)}")
            for name, why in report.given_up.items():
                error_console().print(f"given up: {name}: {why}", markup=False)
        if report.given_up:
            raise typer.Exit(ExitCode.FAILED)


def merlin(
    host: Annotated[str, typer.Argument(help="Where the detector's readout software runs.", metavar="HOST")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its data port.")] = 6342,
    to: _To = "127.0.0.1:5577",
    inv_nm_per_px: _Scale = None,
    particle: Annotated[str | None, typer.Option(help="Particle of the patterns; default: the sample's.")] = None,
    sample: _Sample = None,
    every: Annotated[int, typer.Option(min=1, help="Publish every n-th frame of an acquisition.")] = 1,
    acquisitions: Annotated[int | None, typer.Option(min=1, help="End after this many acquisitions.")] = None,
    prefix: _Prefix = "",
    wait: _Wait = 10.0,
    as_json: _Json = False,
) -> None:
    """Publish the frames of a Merlin detector, or of LiberTEM-live's simulated one, for the service to classify.

    It reads the data port and leaves control to the detector's own software. All acquisitions are one run, each a zone
    visit. Runs until the connection ends, Ctrl-C or SIGTERM. Exit code 1 if frames are missing.

    Example: **braggwatch sadp merlin 127.0.0.1 --inv-nm-per-px 0.1 --particle grain7**
    """
    with clear_errors():
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from braggwatch.services.live.supervision import stop_on_signal
        from braggwatch.services.recording.replay import ReadyPublisher, Serializer
        from braggwatch.services.sadp.sources.merlin_run import publish_merlin
        from braggwatch.services.sadp.sources.merlin_stream import MerlinConnection
        from braggwatch.services.sadp.sources.pattern_documents import PatternSource
        from braggwatch.sim.validated import validated

        metadata: dict[str, object] = {} if particle is None else {"sadp": {"particle": particle}}
        with validated("options"):
            source = PatternSource(
                inv_nm_per_px=inv_nm_per_px, sample=sample, origin=f"merlin:{host}:{port}", metadata=metadata
            )
        publisher = ReadyPublisher(to, prefix=prefix.encode(), serializer=Serializer.MSGPACK)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        try:
            publisher.wait_for_subscriber(wait)
            with (
                stop_on_signal() as stop,
                MerlinConnection(host, port) as connection,
                Progress(*columns, console=error_console(), transient=True) as bar,
            ):
                task = bar.add_task(f"listening to {host}:{port}")
                report = publish_merlin(
                    connection.messages(stop),
                    publisher,
                    source,
                    every=every,
                    acquisitions=acquisitions,
                    progress=lambda r: bar.update(
                        task, description=f"{r.published} of {r.frames} frames, {r.acquisitions} acquisitions"
                    ),
                )
        finally:
            publisher.close()
        if as_json:
            write_json(report)
        else:
            console().print(
                f"{report.published} of {report.frames} frames in {report.acquisitions} acquisitions, "
                f"{report.missing} missing: {report.run_uid or 'no run'}"
            )
        if report.missing:
            raise typer.Exit(ExitCode.FAILED)


def _watch(
    watched: FolderWatch,
    publisher: ReadyPublisher,
    source: PatternSource,
    stop: threading.Event,
    bar: Progress,
    *,
    poll_s: float,
    idle_s: float,
    once: bool,
) -> list[str]:
    """Publish runs until stopped or, with ``once``, until no file is waiting; return their uids."""
    import time

    from braggwatch.services.sadp.sources.pattern_documents import PatternRunWriter

    task = bar.add_task("looking")
    runs: list[str] = []
    writer: PatternRunWriter | None = None
    newest = time.monotonic()
    try:
        while not stop.is_set():
            if writer is None and watched.has_new():
                writer = PatternRunWriter(publisher, source)
                runs.append(writer.uid)
            if writer is not None and watched.step(writer, stop=stop.is_set):
                newest = time.monotonic()
            report = watched.report
            bar.update(
                task, description=f"{report.frames} patterns of {report.files} files, {report.waiting} files waiting"
            )
            if once and not watched.has_new() and not report.waiting:
                break
            if writer is not None and time.monotonic() - newest > idle_s:
                writer.close()
                writer = None
            stop.wait(poll_s)
    except BaseException as error:
        if writer is not None:
            writer.close("fail", f"{type(error).__name__}: {error}"[:300])
        raise
    if writer is not None:
        writer.close()
    return runs

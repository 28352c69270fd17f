"""``braggwatch demo``: everything at once, simulated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, say, write_json

if TYPE_CHECKING:
    from threading import Event

    from rich.table import Table

    from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
    from braggwatch.services.demo.whole_system import Demo, DemoSummary

_ROWS = 20


def demo(
    scans: Annotated[int | None, typer.Option(min=1, help="Scans in all; without it they go on for ever.")] = None,
    exit_: Annotated[
        bool, typer.Option("--exit", help="End after --scans (10 if not given) instead of leaving the page up.")
    ] = False,
    frames: Annotated[int, typer.Option(min=8, help="Frames a scan.")] = 81,
    route: Annotated[
        str, typer.Option(help="How frames travel: 'stream' (ophyd-async files), 'inline', 'resource' (classic files).")
    ] = "stream",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another sample.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 0,
    model: Annotated[str, typer.Option(help="Bundle name, alias or folder.")] = "production",
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else those of the package.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON record a scan, then a summary; no table.")] = False,
) -> None:
    """Start a simulated beamline, a proxy and the service here, and show each verdict beside the truth.

    Nothing of it is a mock: a RunEngine scans, Bluesky's own publisher and proxy carry the documents, the service
    and its page are those of 'braggwatch screen'. Exit code 1 where no scan got a class.

    Example: **braggwatch demo**

    Example: **braggwatch demo --scans 6 --exit --json**
    """
    with clear_errors():
        from braggwatch.services.demo.beamline import ROUTES
        from braggwatch.services.demo.whole_system import DemoOptions, run_demo
        from braggwatch.services.live.supervision import stop_on_signal
        from braggwatch.sim.validated import validated

        if route not in ROUTES:
            raise typer.BadParameter(f"choose from {', '.join(ROUTES)}", param_hint="--route")
        with validated("options"):
            options = DemoOptions(
                scans=scans if scans is not None else 10 if exit_ else None,
                frames=frames,
                route=route,
                seed=seed,
                port=port,
                model=model,
                registry=registry,
            )
        with stop_on_signal() as stop, run_demo(options, say) as running:
            say(f"page: {running.url}   (Ctrl-C ends the demo)")
            summary = _watch_json(running, stop) if as_json else _watch_table(running, stop)
            if as_json:
                write_json(summary)
            else:
                _tell(summary)
            if not exit_ and not stop.is_set():
                say(f"all scans done; the page stays up at {running.url} until Ctrl-C")
                stop.wait()
        if not summary.classified:
            raise typer.Exit(ExitCode.FAILED)


def _watch_json(running: Demo, stop: Event) -> DemoSummary:
    return running.watch(stop, write_json)


def _watch_table(running: Demo, stop: Event) -> DemoSummary:
    from rich.live import Live

    screen = console()
    with Live(_table((), {}), console=screen, refresh_per_second=4) as live:
        summary = running.watch(stop, lambda _: live.update(_table(running.results, running.on_the_way)))
    if not screen.is_terminal:
        screen.print()  # into a file or pipe, the last table comes without a line's end
    return summary


def _table(results: tuple[ScreeningResult, ...], on_the_way: Mapping[str, ProvisionalVerdict]) -> Table:
    from rich.table import Table

    table = Table(
        *("scan", "sample", "truth", "on the way", "verdict", "", "confidence", "frames", "latency"),
        caption="perfect at hkl: as far as hkl sees; the page says which lines it can't",
        caption_justify="left",
    )
    for result in results[-_ROWS:]:
        verdict = result.verdict
        right = "" if verdict.label is None else "[green]✓[/]" if verdict.label == result.truth else "[red]✗[/]"
        table.add_row(
            str(result.scan_id or ""),
            result.sample or "",
            result.truth or "",
            _earlier(on_the_way.get(result.run_uid)),
            _briefly(result),
            right,
            "" if verdict.confidence is None else f"{verdict.confidence:.2f}",
            f"{result.frames_received}/{result.frames_expected or '?'}",
            f"{result.latency_s * 1000:.0f} ms",
        )
    return table


def _earlier(said: ProvisionalVerdict | None) -> str:
    return "" if said is None else f"{said.verdict.headline} at {said.frames_received / said.frames_expected:.0%}"


def _briefly(result: ScreeningResult) -> str:
    burgers = result.burgers
    if result.verdict.headline != "perfect" or burgers is None or burgers.hkl is None:
        return result.in_words
    return f"perfect at {''.join(str(index) for index in burgers.hkl)}"


def _tell(summary: DemoSummary) -> None:
    first = "" if summary.first_verdict_s is None else f", the first after {summary.first_verdict_s:.1f} s"
    console().print(
        f"{summary.results} scans: {summary.classified} classified, {summary.right} of them right, "
        f"{summary.set_aside} set aside, {summary.documents_lost} documents lost{first}"
    )

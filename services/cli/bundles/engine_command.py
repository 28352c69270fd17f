"""``braggwatch engine``: TensorRT engines of the model bundles, and what every way to run a bundle is worth here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import (
    EXIT_CODES,
    ExitCode,
    clear_errors,
    console,
    counted_progress,
    say,
    write_json,
)
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle
    from braggwatch.models.runtimes.engine_bench import RouteResult
    from braggwatch.models.runtimes.engine_cache import EngineCache, EngineRecord
    from braggwatch.models.runtimes.engine_floor import DevicePeak

app = typer.Typer(
    help="TensorRT engines of the bundles, and what each way to run a bundle is worth on this machine.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Registry = Annotated[Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")]
_Json = Annotated[bool, typer.Option("--json", help="As one JSON object.")]


class Flavour(StrEnum):
    """Which TensorRT."""

    AUTO = "auto"
    FULL = "tensorrt"
    RTX = "tensorrt-rtx"


@app.command("build", epilog=EXIT_CODES)
def build(
    bundle: Annotated[str, typer.Option(help="Bundle by name or alias, or its folder.")] = "production",
    every: Annotated[bool, typer.Option("--all", help="Every bundle of the registry.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where engines are kept; else $BRAGGWATCH_ENGINES or the user's cache.")
    ] = None,
    flavour: Annotated[
        Flavour, typer.Option(help="Which TensorRT; 'auto': the full one where there is a GPU and it is installed.")
    ] = Flavour.AUTO,
    capability: Annotated[
        list[str] | None,
        typer.Option(
            "--for", help="TensorRT-RTX: build for this GPU generation instead of the GPU here, e.g. SM89; repeatable."
        ),
    ] = None,
    registry: _Registry = None,
    as_json: _Json = False,
) -> None:
    """Build the engine of a bundle, in fp16 for batches of 1, 8 and 32, and keep it.

    With a GPU the engine is also run on the bundle's golden inputs; the service does both by itself on its first start.
    Without one, TensorRT-RTX builds for the generations that it knows, and only the fp16 graph is run, on the CPU.

    Example: **braggwatch engine build**

    Example: **braggwatch engine build --all --for SM86 --for SM89 --out engines**
    """
    with clear_errors():
        from braggwatch.models.runtimes.engine_cache import EngineCache, EngineCacheError
        from braggwatch.models.runtimes.self_test import GoldenMismatchError

        cache = EngineCache(out)
        built: list[EngineRecord] = []
        bundles = _bundles(bundle, every, registry)
        try:
            with counted_progress() as progress:
                task = progress.add_task("engines", total=len(bundles))
                for one in bundles:
                    progress.update(task, description=one.manifest.id)
                    built.append(_build_one(one, cache, flavour, tuple(capability or ())))
                    progress.advance(task)
        except (EngineCacheError, GoldenMismatchError) as error:
            say(f"error: {error}")
            raise typer.Exit(ExitCode.FAILED) from error
        if as_json:
            engines: list[object] = [one.model_dump(mode="json") for one in built]
            write_json({"folder": str(cache.folder), "engines": engines})
            return
        from rich.table import Table

        table = Table("bundle", "with", "for", "precision", "build", "plan", "deviation", title=str(cache.folder))
        for one in built:
            layers = f"{one.precision}, {one.half_nodes} of {one.nodes} layers" if one.half_nodes else one.precision
            table.add_row(
                one.bundle,
                f"{one.key.flavour} {one.key.version}",
                one.key.device,
                layers,
                f"{one.build_seconds:.1f} s",
                f"{one.plan_bytes / 1e6:.1f} MB",
                _deviation(one),
            )
        console().print(table)


@app.command("info", epilog=EXIT_CODES)
def info(
    out: Annotated[Path | None, typer.Option(help="Folder of engines; else the one that is in use.")] = None,
    as_json: _Json = False,
) -> None:
    """Say which engines are here, whether this machine takes them, and which ways to run a bundle it has.

    Example: **braggwatch engine info**
    """
    with clear_errors():
        from braggwatch.models.runtimes.engine_cache import EngineCache
        from braggwatch.models.runtimes.engine_inventory import take_inventory

        found = take_inventory(EngineCache(out))
        if as_json:
            write_json(found)
            return
        from rich.markup import escape
        from rich.table import Table

        screen = console()
        where = "no GPU" if found.device is None else f"{found.device}, driver {found.driver}"
        routes = Table("route", "usable", "why not", title=where)
        for one in found.routes:
            routes.add_row(one.route, "yes" if one.problem is None else "no", escape(one.problem or ""))
        screen.print(routes)
        for name, version in found.installed.items():
            screen.print(escape(f"{name}: {version}"))
        if not found.engines:
            screen.print(escape(f"no engines in {found.folder}"))
            return
        engines = Table("bundle", "with", "for", "plan", "deviation", "taken here", title=escape(found.folder))
        for state in found.engines:
            record = state.record
            engines.add_row(
                record.bundle,
                f"{record.key.flavour} {record.key.version}",
                record.key.device,
                f"{record.plan_bytes / 1e6:.1f} MB",
                _deviation(record),
                "yes" if state.problem is None else escape(f"no: {state.problem}"),
            )
        screen.print(engines)


@app.command("bench", epilog=EXIT_CODES)
def bench(
    bundle: Annotated[str, typer.Option(help="Bundle by name or alias, or its folder.")] = "production",
    repeats: Annotated[int, typer.Option(min=1, help="Single runs of each route.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Samples at once for the throughput.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Cores of the routes on the processor.")] = 2,
    route: Annotated[
        list[str] | None, typer.Option(help="Only this route, as 'braggwatch engine info' names it; repeatable.")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(help="fp16 peak of the GPU for the floor; known for common ones.")
    ] = None,
    peak_gb_s: Annotated[float | None, typer.Option(help="Memory bandwidth of the GPU for the floor.")] = None,
    registry: _Registry = None,
    as_json: _Json = False,
) -> None:
    """Measure every way to run a bundle on this machine, in turns, and set it beside what the GPU could do at best.

    Host: counts in host memory to outputs in host memory. Device: counts on the GPU already, outputs in host memory.
    Routes that this machine lacks are named with the reason.

    Example: **braggwatch engine bench --repeats 500**
    """
    with clear_errors():
        from braggwatch.models.runtimes.engine_bench import bench_routes, choose_routes
        from braggwatch.models.runtimes.engine_floor import graph_cost
        from braggwatch.models.runtimes.engine_open import engine_graph

        routes = choose_routes(tuple(route or ()))
        chosen = _bundles(bundle, False, registry)[0]
        graph = engine_graph(chosen, threads)
        costs = {one: graph_cost(graph.model, one) for one in (1, batch)}
        peak = _peak(peak_tflops, peak_gb_s)
        with counted_progress() as progress:
            task = progress.add_task("opening", total=None)
            results = bench_routes(
                chosen,
                routes,
                repeats=repeats,
                batch=batch,
                threads=threads,
                progress=lambda done, total: progress.update(
                    task, description="measuring", completed=done, total=total
                ),
            )
        floors = {one: None if peak is None else peak.floor_s(cost) for one, cost in costs.items()}
        if as_json:
            measured: list[object] = [one.model_dump(mode="json") for one in results]
            floor: list[object] = [
                {"batch": one, "flops": cost.flops, "bytes": cost.bytes, "seconds": floors[one]}
                for one, cost in costs.items()
            ]
            write_json({"bundle": chosen.manifest.id, "batch": batch, "floor": floor, "routes": measured})
            return
        _print_bench(chosen, results, batch, floors[1])
        for one, cost in costs.items():
            least = floors[one]
            best = "no peak known of a GPU here" if least is None else f"at least {least * 1e3:.4f} ms on this GPU"
            moved = f"{cost.flops / 1e9:.2f} GFLOP, {cost.bytes / 1e6:.2f} MB"
            console().print(f"floor of a batch of {one} ({graph.precision}): {moved}; {best}")


def _print_bench(chosen: Bundle, results: tuple[RouteResult, ...], batch: int, floor_s: float | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("route", "host p50", "p99", "device p50", "p99", f"batch {batch}", "deviation", "classes", "floor")
    table.title = f"{chosen.manifest.id}, one sample, ms"
    absent = Table("not measured", "why")
    for one in results:
        if one.host is None or one.problem is not None:
            absent.add_row(one.route, escape(one.problem or ""))
            continue
        inner = one.device_in
        fastest = one.host.p50_ms if inner is None else inner.p50_ms
        table.add_row(
            f"{one.route} {one.version}",
            f"{one.host.p50_ms:.3f}",
            f"{one.host.p99_ms:.3f}",
            "" if inner is None else f"{inner.p50_ms:.3f}",
            "" if inner is None else f"{inner.p99_ms:.3f}",
            f"{one.throughput_per_s or 0.0:.0f}/s",
            f"{one.golden_difference or 0.0:.1e}",
            "same" if one.same_classes else "OTHER",
            "" if floor_s is None or "-cpu" in one.route else f"{fastest / 1e3 / floor_s:.0f}x",
        )
    console().print(table)
    if absent.row_count:
        console().print(absent)


def _bundles(name: str, every: bool, registry: Path | None) -> list[Bundle]:
    from braggwatch.models.bundling.bundle import Bundle
    from braggwatch.models.bundling.registry import Registry

    found = Registry(registry)
    if every:
        return [Bundle.load(found.root / one) for one in found.list()]
    return [Bundle.load(found.locate(name))]


def _build_one(bundle: Bundle, cache: EngineCache, flavour: Flavour, capabilities: tuple[str, ...]) -> EngineRecord:
    from braggwatch.models.runtimes.base import RuntimeUnavailableError
    from braggwatch.models.runtimes.cuda_probe import cuda_problem
    from braggwatch.models.runtimes.engine_build import PORTABLE_CAPABILITIES
    from braggwatch.models.runtimes.engine_open import build_engine, open_engine
    from braggwatch.models.runtimes.tensorrt_api import is_installed, load_tensorrt

    no_device = cuda_problem()
    if no_device is None and not capabilities:
        wanted = "tensorrt" if flavour is Flavour.FULL or is_installed("tensorrt") else "tensorrt-rtx"
        wanted = "tensorrt-rtx" if flavour is Flavour.RTX else wanted
        return open_engine(bundle, wanted, cache=cache).record
    if flavour is Flavour.FULL:
        raise RuntimeUnavailableError(f"full TensorRT builds for the GPU here only: {no_device or 'leave --for'}")
    record, built = build_engine(
        bundle, load_tensorrt("tensorrt-rtx"), capabilities=capabilities or PORTABLE_CAPABILITIES
    )
    cache.store(record, built.plan)
    return record


def _deviation(record: EngineRecord) -> str:
    if record.golden_difference is not None:
        return f"{record.golden_difference:.1e}, on the GPU"
    return "" if record.graph_difference is None else f"{record.graph_difference:.1e}, graph on the CPU"


def _peak(tflops: float | None, gb_s: float | None) -> DevicePeak | None:
    from braggwatch.models.runtimes.base import RuntimeUnavailableError
    from braggwatch.models.runtimes.cuda_probe import find_device
    from braggwatch.models.runtimes.engine_floor import DevicePeak, known_peak

    if (tflops is None) != (gb_s is None):
        raise InputError("a floor needs both --peak-tflops and --peak-gb-s")
    if tflops is not None and gb_s is not None:
        return DevicePeak(tflops * 1e12, gb_s * 1e9)
    try:
        return known_peak(find_device().name)
    except RuntimeUnavailableError:
        return None

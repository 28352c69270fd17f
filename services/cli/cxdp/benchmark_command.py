"""``braggwatch cxdp benchmark``: score a model on the open test set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console, write_json
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from braggwatch.models.cxdp.benchmarking import BenchmarkResult, Entrant, Reading


class Splits(StrEnum):
    """Which patterns."""

    TEST = "test"
    DEV = "public-dev"
    ALL = "all"


class Scale(StrEnum):
    """What the graph is fed."""

    COUNTS = "counts"
    LOG = "log1p-max"


class Layout(StrEnum):
    """Axes of the graph's input."""

    AUTO = "auto"
    NDHW = "NDHW"
    NCDHW = "NCDHW"
    NDHWC = "NDHWC"


class Reads(StrEnum):
    """What the graph's output holds."""

    AUTO = "auto"
    LOGITS = "logits"
    PROBABILITIES = "probabilities"


def benchmark(
    model: Annotated[
        str, typer.Argument(help="ONNX file, folder of a bundle, or bundle by name or alias.", metavar="MODEL")
    ] = "production",
    split: Annotated[
        Splits, typer.Option(help="'test' to report, 'public-dev' to choose by while you work, or 'all'.")
    ] = Splits.TEST,
    scale: Annotated[
        Scale, typer.Option("--input", help="ONNX file: raw counts, or log1p of them divided by its maximum.")
    ] = Scale.COUNTS,
    layout: Annotated[
        Layout, typer.Option(help="ONNX file: axes, D along Q; 'auto' takes NDHW for four and NCDHW for five.")
    ] = Layout.AUTO,
    output: Annotated[
        str | None,
        typer.Option(help="ONNX file: output of perfect, screw, edge; else 'probabilities', 'logits' or the only one."),
    ] = None,
    reads: Annotated[Reads, typer.Option(help="ONNX file: what that output holds; 'auto' by its name.")] = Reads.AUTO,
    score_output: Annotated[
        str | None,
        typer.Option(
            help="ONNX file: output that is larger for stranger patterns; else 'ood_score' where there is one."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option("--set", help="Folder of a test set; else the package's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as one JSON object.")] = False,
) -> None:
    """Score anybody's model on cxdp-bench: simulated and relaxed crystals that no shipped bundle learnt from.

    A graph takes one (64, 64, 64) volume and gives three numbers: perfect, screw, edge. A bundle is scored as deployed,
    with its mirror copies and its right to name no class.

    Example: **braggwatch cxdp benchmark --split public-dev**

    Example: **braggwatch cxdp benchmark mine.onnx --input log1p-max --layout NCDHW --output y --reads logits**
    """
    with clear_errors():
        from rich.progress import Progress

        from braggwatch.models.cxdp.benchmarking import Benchmark, Reading, answer_all, score_answers
        from braggwatch.models.cxdp.benchmarking.patterns import SPLITS

        tests = Benchmark.load(folder)
        splits = SPLITS if split is Splits.ALL else (SPLITS[1] if split is Splits.TEST else SPLITS[0],)
        reading = Reading(scale.value, layout.value, output, reads.value, score_output)
        entrant = _entrant(model, reading, threads)
        with Progress(console=error_console()) as progress:
            task = progress.add_task(entrant.name, total=len(tests.chosen(splits)))
            answers = answer_all(entrant, tests, splits, lambda done: progress.update(task, completed=done))
        result = score_answers(entrant, tests, answers, splits)
        if as_json:
            write_json(result)
        else:
            console().print(_table(result))
            console().print(_confusion(result))


def _entrant(model: str, reading: Reading, threads: int) -> Entrant:
    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.cxdp.benchmarking import BundleEntrant, OnnxEntrant, Reading
    from braggwatch.models.cxdp.classifier import BundleClassifier

    path = Path(model)
    if (path.is_file() and model not in Registry().aliases()) or path.suffix == ".onnx":
        return OnnxEntrant.from_file(path, reading, threads)
    if reading != Reading():
        raise InputError(f"{model} is a bundle, which says itself how it is fed and read: leave those options out")
    return BundleEntrant(BundleClassifier.load(Registry().locate(model), threads))


def _table(result: BenchmarkResult) -> Table:
    from rich.table import Table

    title = f"{result.model} on {result.benchmark}, {' and '.join(result.splits)}; outliers by {result.strangeness}"
    table = Table("score", "patterns", "crystals", "value", "95 %", title=title)
    rows = [("accuracy", result.accuracy), ("perfect against defect", result.perfect_vs_defect)]
    groups = {
        "split": result.by_split,
        "source": result.by_source,
        "counts": result.by_counts,
        "reflection": result.by_reflection,
    }
    rows += [(f"{what} {one.group}", one) for what, scores in groups.items() for one in scores]
    rows += [] if result.named is None else [("where a class was named", result.named)]
    for name, one in rows:
        interval = f"{one.low:.1%} to {one.high:.1%}"
        table.add_row(name, str(one.samples), str(one.configurations), f"{one.accuracy:.1%}", interval)
    table.add_row("negative log-likelihood", "", "", f"{result.nll:.3f}", "")
    table.add_row("expected calibration error", "", "", f"{result.expected_calibration_error:.3f}", "")
    if result.unanswered:
        table.add_row("without an answer", str(result.unanswered), "", "", "")
    for one in result.outliers:
        aside = "" if one.set_aside is None else f"{one.set_aside:.0%} set aside"
        table.add_row(f"outlier {one.kind}", str(one.samples), "", f"AUROC {one.auroc:.3f}", aside)
    if result.outlier_auroc is not None:
        table.add_row("all outliers", "", "", f"AUROC {result.outlier_auroc:.3f}", "")
    return table


def _confusion(result: BenchmarkResult) -> Table:
    from rich.table import Table

    table = Table("truth", *(f"said {name}" for name in result.classes), title="most probable class")
    for name, counts in zip(result.classes, result.confusion, strict=True):
        table.add_row(name, *(str(count) for count in counts))
    return table

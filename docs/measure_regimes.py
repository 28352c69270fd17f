"""Train the same network on each training regime, test all on crystals unlike any, and write the page's tables.

``python docs/measure_regimes.py --libraries data/relaxed --out data/regimes`` does all of it, or goes on where it was
stopped; docs/explanation/training-regimes.md says which libraries it wants and how they are made. With ``--regime`` it
does only those, with ``--table-only`` it only writes the tables from the records that are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.batch.shards import ShardDone
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.services.cxdp.studies.regime_study import (
    HELD_OUT_SPEC,
    MIXED_SPEC,
    STRAINED_SPEC,
    CommonTestSet,
    Regime,
    RegimeRecord,
    StudyPlan,
    common_patterns,
    count_common_patterns,
    count_regime_patterns,
    regime_patterns,
    study_regime,
)
from braggwatch.services.cxdp.studies.regime_tables import regime_tables

PAGE = Path(__file__).resolve().parent / "explanation" / "training-regimes.md"
TABLES = re.compile(r"(<!-- tables: measure_regimes.py -->\n\n).*?(\n<!-- end of tables -->)", re.DOTALL)
PER_CLASS = 34
PER_CLASS_LARGE = 13
REGIMES = (
    ("unrelaxed-small-pt-cd", "unrelaxed-small-pt-cd", PER_CLASS),
    ("small-pt-cd", "small-pt-cd", PER_CLASS),
    ("small-pt-mix", "small-pt-mix", PER_CLASS),
    ("small-many-cd", "small-many-cd", PER_CLASS),
    ("small-many-mix", "small-many-mix", PER_CLASS),
    ("large-many-mix", "large-many-mix", PER_CLASS_LARGE),
    # as few crystals as the large ones, to tell their number from their size
    ("small-many-mix, fewer", "small-many-mix", PER_CLASS_LARGE),
)
TESTS = (
    ("same recipe", "small-many-mix-test", HELD_OUT_SPEC, 5),
    ("silver", "unseen", HELD_OUT_SPEC, 5),
    ("silver, strained", "unseen", STRAINED_SPEC, 12),
    ("mixed lines", "unseen-mixed-lines", MIXED_SPEC, 5),
)


def main(
    libraries: Annotated[Path, typer.Option(help="Folder of folders of relaxed crystals.")],
    out: Annotated[Path, typer.Option(help="Patterns, checkpoints and records; what is there is kept.")],
    regime: Annotated[list[str] | None, typer.Option(help="Only this regime; again for more.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Of weights and order; again for more.")] = None,
    steps: Annotated[int, typer.Option(min=10, help="Of training.")] = StudyPlan().steps,
    threads: Annotated[int, typer.Option(min=1, help="Of training.")] = StudyPlan().threads,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make patterns.")] = 2,
    patterns_only: Annotated[bool, typer.Option("--patterns-only", help="Make patterns, train nothing.")] = False,
    table_only: Annotated[bool, typer.Option("--table-only", help="Only write the tables.")] = False,
) -> None:
    """Run the study and write the tables into the page."""
    plan = StudyPlan(steps=steps, threads=threads, workers=workers)
    with clear_errors():
        if not table_only:
            wanted = [
                Regime(name, libraries / folder, n) for name, folder, n in REGIMES if not regime or name in regime
            ]
            if not wanted:
                raise ValueError(f"there is no such regime: choose of {', '.join(name for name, _, _ in REGIMES)}")
            _study(wanted, libraries, out, plan, seed or [1], patterns_only=patterns_only)
        if not patterns_only:
            _write_tables(out, steps)


def _study(
    wanted: list[Regime], libraries: Path, out: Path, plan: StudyPlan, seeds: list[int], *, patterns_only: bool
) -> None:
    sets = [CommonTestSet(name, libraries / folder, spec, each) for name, folder, spec, each in TESTS]
    with counted_progress() as progress:

        def counted(description: str, total: int) -> Callable[[ShardDone], None]:
            task = progress.add_task(description, total=total)
            return lambda done: progress.advance(task, done.asked)

        tests = {
            test.name: common_patterns(
                test, plan.workers, out / "tests", counted(f"test set {test.name}", count_common_patterns(test))
            )
            for test in sets
        }
        for regime in wanted:
            on_shard = counted(f"patterns of {regime.name}", count_regime_patterns(regime, plan))
            training, held_out = regime_patterns(regime, plan, out / "patterns" / _slug(regime.name), on_shard)
            for seed in [] if patterns_only else seeds:
                record = out / f"{_slug(regime.name)}-{plan.steps}steps-seed{seed}.json"
                if record.exists():
                    continue
                task = progress.add_task(f"training {regime.name}, seed {seed}", total=plan.steps)
                made = study_regime(
                    regime.name,
                    plan,
                    seed,
                    training,
                    held_out,
                    tests,
                    out / "training" / record.stem,
                    lambda step, _, task=task: progress.update(task, completed=step),
                )
                record.write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _write_tables(out: Path, steps: int) -> None:
    order = [name for name, _, _ in REGIMES]
    records = [
        RegimeRecord.model_validate_json(path.read_bytes()) for path in sorted(out.glob(f"*-{steps}steps-*.json"))
    ]
    if not records:
        raise FileNotFoundError(f"no records of {steps} steps in {out}: leave --table-only out")
    records.sort(key=lambda record: (order.index(record.regime), record.seed))
    tables = regime_tables(records, [name for name, _, _, _ in TESTS])
    PAGE.write_text(TABLES.sub(lambda m: m[1] + tables + m[2], PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    typer.echo(tables)


def _slug(name: str) -> str:
    return name.replace(", ", "-")


if __name__ == "__main__":
    typer.run(main)

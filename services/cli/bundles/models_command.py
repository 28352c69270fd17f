"""``braggwatch models``: which model bundles are here, and are they sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import EXIT_CODES, ExitCode, clear_errors, console, error_console, write_json

if TYPE_CHECKING:
    from braggwatch.models.bundling.manifest import Manifest
    from braggwatch.models.bundling.registry import Registry

app = typer.Typer(help="Look at the model bundles.", no_args_is_help=True, rich_markup_mode="markdown")

_Root = Annotated[Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")]
_Json = Annotated[bool, typer.Option("--json", help="As one JSON object.")]


@app.command("list", epilog=EXIT_CODES)
def list_models(registry: _Root = None, as_json: _Json = False) -> None:
    """List the bundles, their tasks and aliases; 'production' is what the service takes.

    Example: **braggwatch models list**
    """
    with clear_errors():
        from braggwatch.models.bundling.registry import Registry

        found = Registry(registry)
        ids, aliases = found.list(), found.aliases()
        if as_json:
            tasks: dict[str, object] = {one: None if (m := _said(found, one)) is None else m.task for one in ids}
            write_json({"registry": str(found.root), "bundles": list(ids), "tasks": tasks, "aliases": dict(aliases)})
            return
        from rich.table import Table

        table = Table("bundle", "task", "input", "classes", "aliases", title=str(found.root))
        for bundle_id in ids:
            names = ", ".join(sorted(a for a, target in aliases.items() if target == bundle_id))
            said = _said(found, bundle_id)
            if said is None:
                table.add_row(bundle_id, "can't be read", "", "", names)
                continue
            shape = " x ".join(str(size) for size in said.input.shape)
            table.add_row(bundle_id, said.task, shape, str(len(said.classes)), names)
        console().print(table)


def _said(registry: Registry, bundle_id: str) -> Manifest | None:
    """Return a bundle's manifest; None where it can't be read, which 'verify' explains."""
    from braggwatch.models.bundling.registry import RegistryError

    try:
        return registry.manifest(bundle_id)
    except RegistryError:
        return None


@app.command("verify", epilog=EXIT_CODES)
def verify(
    bundle: Annotated[str | None, typer.Argument(help="Bundle or alias; all where absent.")] = None,
    registry: _Root = None,
    as_json: _Json = False,
) -> None:
    """Check a bundle's hashes and run its golden inputs. Exit code 1 where one is not sound, or there is none.

    Example: **braggwatch models verify production**
    """
    with clear_errors():
        from dataclasses import asdict

        from braggwatch.models.bundling.registry import Registry

        with error_console().status("running golden inputs"):
            reports = Registry(registry).verify(bundle)
        if as_json:
            write_json({"reports": [{**asdict(report), "ok": report.ok} for report in reports]})
        else:
            from rich.table import Table

            table = Table("bundle", "sound", "runtime", "golden difference", "problem")
            for report in reports:
                difference = "" if report.golden_difference is None else f"{report.golden_difference:.1e}"
                table.add_row(
                    report.bundle_id,
                    "yes" if report.ok else "NO",
                    report.runtime or "",
                    difference,
                    report.problem or "",
                )
            console().print(table)
        if not reports or not all(report.ok for report in reports):
            raise typer.Exit(ExitCode.FAILED)

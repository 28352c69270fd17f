"""``braggwatch promote``: let an alias stand for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console, write_json


def promote(
    bundle: Annotated[str, typer.Argument(help="Which bundle, NAME/VERSION, e.g. cxdp-fcc/1.5.0.")],
    alias: Annotated[
        str, typer.Option("--alias", help="The word that stands for it; 'production' is what the service takes.")
    ] = "production",
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Verify a bundle and make it 'production', or another alias. To go back, promote the former one.

    Its hashes are checked and its golden inputs run; a bundle that isn't sound is refused and nothing changes. The
    index is replaced in one step and pins the bundle's hash. A service takes the bundle when it starts: restart it.
    Several people may promote at the same time: one after the other has a turn.

    Example: **braggwatch promote cxdp-fcc/1.5.0**
    """
    with clear_errors():
        from braggwatch.models.bundling.registry import Registry

        found = Registry(registry)
        former = found.aliases().get(alias)
        with error_console().status(f"verifying {bundle}"):
            found.promote(alias, bundle)
        if as_json:
            write_json({"registry": str(found.root), "alias": alias, "bundle": bundle, "former": former})
            return
        was = "" if former is None or former == bundle else f" (was {former})"
        console().print(f"{alias} is {bundle} now{was}")

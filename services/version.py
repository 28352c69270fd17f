"""The name and version of this tool, as files and bundles record what made them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """Name this tool and its version, e.g. ``braggwatch 0.1.0``."""
    try:
        return f"braggwatch {version('braggwatch')}"
    except PackageNotFoundError:
        return "braggwatch"

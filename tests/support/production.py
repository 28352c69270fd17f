"""The bundle that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from braggwatch.models.bundling.registry import PRODUCTION, Registry


def production_bundle() -> Path:
    """Return the production bundle's folder; skips the test where there is none."""
    registry = Registry()
    if PRODUCTION not in registry.aliases():
        pytest.skip("no bundle is promoted to 'production' in this checkout")
    return registry.resolve(PRODUCTION)

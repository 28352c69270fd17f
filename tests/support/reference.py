"""``docs/generate_reference.py`` as a module: it knows how to walk settings, commands and metrics."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_FILE = Path(__file__).resolve().parents[2] / "docs" / "generate_reference.py"


def load_reference() -> ModuleType:
    """Load the generator of the reference pages."""
    spec = importlib.util.spec_from_file_location("generate_reference", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

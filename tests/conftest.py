"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is no fault of a property. In CI the same examples each time: what passed once passes again, and new
# ones are looked for wherever people run the tests.
settings.register_profile("here", deadline=None)
settings.register_profile("gate", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("gate" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the golden files of tests/formats be written anew: only where a format is meant to change."""
    parser.addoption(
        "--rewrite-golden", action="store_true", help="write the golden files of tests/formats from the code as it is"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to rewrite in CI: what is compared there is what was committed."""
    if config.getoption("--rewrite-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--rewrite-golden can't be used in CI")

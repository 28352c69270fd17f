"""TensorRT and TensorRT-RTX as ways to run a bundle, told without loading either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from braggwatch.models.runtimes.base import RuntimeCandidate
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.models.runtimes.tensorrt_api import Flavour, is_installed

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle
    from braggwatch.models.runtimes.base import Runtime


def _problem(flavour: Flavour) -> str | None:
    """Ask for the module and the driver without loading TensorRT, which can crash where there is no driver."""
    if not is_installed(flavour):
        return f"{flavour} isn't installed"
    return cuda_problem()


def _open(bundle: Bundle, flavour: Flavour) -> Runtime:
    from braggwatch.models.runtimes.engine_open import open_engine

    return open_engine(bundle, flavour).runtime


TENSORRT: Final = RuntimeCandidate(
    "tensorrt", lambda: _problem("tensorrt"), lambda bundle, _: _open(bundle, "tensorrt")
)
TENSORRT_RTX: Final = RuntimeCandidate(
    "tensorrt-rtx", lambda: _problem("tensorrt-rtx"), lambda bundle, _: _open(bundle, "tensorrt-rtx")
)

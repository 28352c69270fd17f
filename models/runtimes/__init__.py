"""What runs a network's graph: ONNX Runtime on the CPU, and room for others.

Classifiers, bundle making and the command line import it; it knows no system's own contents.
"""

from braggwatch.models.runtimes.base import (
    InferenceError,
    Runtime,
    RuntimeCandidate,
    RuntimeOutput,
    RuntimeUnavailableError,
)
from braggwatch.models.runtimes.factory import RuntimePreference, open_runtime
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.models.runtimes.self_test import GoldenMismatchError, golden_difference

__all__ = [
    "GoldenMismatchError",
    "InferenceError",
    "OnnxRuntime",
    "Runtime",
    "RuntimeCandidate",
    "RuntimeOutput",
    "RuntimePreference",
    "RuntimeUnavailableError",
    "golden_difference",
    "open_runtime",
]

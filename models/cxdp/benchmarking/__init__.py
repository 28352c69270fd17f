"""An open test set with splits, and scores on it for any network that can be run as ONNX.

The benchmark's command and docs/make_benchmark.py import it.
"""

from braggwatch.models.cxdp.benchmarking.entrants import BundleEntrant, Entrant, EntrantError, OnnxEntrant, Reading
from braggwatch.models.cxdp.benchmarking.patterns import Benchmark, BenchmarkError, PatternFacts, Split
from braggwatch.models.cxdp.benchmarking.scoring import BenchmarkResult, answer_all, score_answers

__all__ = [
    "Benchmark",
    "BenchmarkError",
    "BenchmarkResult",
    "BundleEntrant",
    "Entrant",
    "EntrantError",
    "OnnxEntrant",
    "PatternFacts",
    "Reading",
    "Split",
    "answer_all",
    "score_answers",
]

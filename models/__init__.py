"""Networks, training, bundles, runtimes, calibration and verdicts. Knows no documents.

`callbacks` and `services` import it, and it imports `sim`.

Judge a volume, here one that the model in production carries to check itself with:

>>> from braggwatch.models import Bundle, Registry, classify_volume
>>> volume = Bundle.load(Registry().resolve("production")).golden.counts[0]
>>> volume.shape
(64, 64, 64)
>>> verdict = classify_volume(volume)
>>> verdict.label, verdict.confidence > 0.8
('perfect', True)
>>> classify_volume(volume[:32]).reason
'the volume has shape (32, 64, 64), the model takes (64, 64, 64)'
"""

from __future__ import annotations

from braggwatch.sim.lazy_names import lazy_names

# Type checkers take this name for true. Importing typing for it would double the time that importing the package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle, BundleError
    from braggwatch.models.bundling.registry import Registry, RegistryError
    from braggwatch.models.cxdp.benchmarking.entrants import OnnxEntrant, Reading
    from braggwatch.models.cxdp.benchmarking.patterns import Benchmark
    from braggwatch.models.cxdp.benchmarking.scoring import BenchmarkResult, answer_all, score_answers
    from braggwatch.models.cxdp.classifier import BundleClassifier, Classifier
    from braggwatch.models.cxdp.volume_verdict import classify_volume
    from braggwatch.models.runtimes.base import RuntimeUnavailableError
    from braggwatch.models.sadp.classifier import CrystalJudgement, PatternJudgement, SadpClassifier
    from braggwatch.models.sadp.measured import MeasuredPattern
    from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Benchmark": "braggwatch.models.cxdp.benchmarking.patterns",
            "BenchmarkResult": "braggwatch.models.cxdp.benchmarking.scoring",
            "Bundle": "braggwatch.models.bundling.bundle",
            "BundleClassifier": "braggwatch.models.cxdp.classifier",
            "BundleError": "braggwatch.models.bundling.bundle",
            "Classifier": "braggwatch.models.cxdp.classifier",
            "CrystalJudgement": "braggwatch.models.sadp.classifier",
            "MeasuredPattern": "braggwatch.models.sadp.measured",
            "ModelIdentity": "braggwatch.models.verdict",
            "OnnxEntrant": "braggwatch.models.cxdp.benchmarking.entrants",
            "Outcome": "braggwatch.models.verdict",
            "PatternJudgement": "braggwatch.models.sadp.classifier",
            "Reading": "braggwatch.models.cxdp.benchmarking.entrants",
            "Registry": "braggwatch.models.bundling.registry",
            "RegistryError": "braggwatch.models.bundling.registry",
            "RuntimeUnavailableError": "braggwatch.models.runtimes.base",
            "SadpClassifier": "braggwatch.models.sadp.classifier",
            "Verdict": "braggwatch.models.verdict",
            "answer_all": "braggwatch.models.cxdp.benchmarking.scoring",
            "classify_volume": "braggwatch.models.cxdp.volume_verdict",
            "score_answers": "braggwatch.models.cxdp.benchmarking.scoring",
        },
    )

__all__ = [
    "Benchmark",
    "BenchmarkResult",
    "Bundle",
    "BundleClassifier",
    "BundleError",
    "Classifier",
    "CrystalJudgement",
    "MeasuredPattern",
    "ModelIdentity",
    "OnnxEntrant",
    "Outcome",
    "PatternJudgement",
    "Reading",
    "Registry",
    "RegistryError",
    "RuntimeUnavailableError",
    "SadpClassifier",
    "Verdict",
    "answer_all",
    "classify_volume",
    "score_answers",
]

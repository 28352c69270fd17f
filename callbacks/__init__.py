"""Documents to frames to reciprocal space to model input to verdict. No sockets, no threads.

`services` import it, and it imports `models` and `sim`.

Screen in the session that scans; ``RE.subscribe(screening)`` is all that is left to do:

>>> from braggwatch.callbacks import CpuPreprocessor, PreprocessingSettings, RecentVerdicts, ScreeningCallback
>>> from braggwatch.models import BundleClassifier, Registry
>>> from braggwatch.sim import load_preset
>>> classifier = BundleClassifier.load(Registry().resolve("production"))
>>> verdicts = RecentVerdicts()
>>> screening = ScreeningCallback(
...     load_preset("34idc"), CpuPreprocessor(PreprocessingSettings()), classifier, verdicts.put
... )
>>> screening.open_runs
0
"""

from __future__ import annotations

from braggwatch.sim.lazy_names import lazy_names

# Type checkers take this name for true. Importing typing for it would double the time that importing the package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, preprocess_arrays, warm_up
    from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
    from braggwatch.callbacks.cxdp.records import (
        BurgersVisibility,
        ModelInput,
        ProvisionalVerdict,
        Quality,
        RockingCurve,
        ScreeningReport,
        ScreeningResult,
    )
    from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
    from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
    from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
    from braggwatch.callbacks.plans.early_end import RockedRun, rock_until_sure
    from braggwatch.callbacks.plans.verdict_device import VerdictDevice
    from braggwatch.callbacks.plans.verdict_plans import GridScreening, PlanVerdict, screen_grid, wait_for_verdict
    from braggwatch.callbacks.plans.verdict_source import ProvisionalSource, RecentVerdicts, VerdictSource
    from braggwatch.callbacks.sadp.judging import PatternModel
    from braggwatch.callbacks.sadp.pattern import PatternSettings, measure_pattern
    from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
    from braggwatch.callbacks.sadp.records import (
        ParticleState,
        PatternReport,
        PatternResult,
        PatternRunReport,
        PatternRunResult,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "AssemblySettings": "braggwatch.callbacks.documents.assembly_settings",
            "BurgersVisibility": "braggwatch.callbacks.cxdp.records",
            "CpuPreprocessor": "braggwatch.callbacks.cxdp.preprocess.preprocessing",
            "GridScreening": "braggwatch.callbacks.plans.verdict_plans",
            "ModelInput": "braggwatch.callbacks.cxdp.records",
            "ParticleState": "braggwatch.callbacks.sadp.records",
            "PatternCallback": "braggwatch.callbacks.sadp.pattern_callback",
            "PatternModel": "braggwatch.callbacks.sadp.judging",
            "PatternReport": "braggwatch.callbacks.sadp.records",
            "PatternResult": "braggwatch.callbacks.sadp.records",
            "PatternRunReport": "braggwatch.callbacks.sadp.records",
            "PatternRunResult": "braggwatch.callbacks.sadp.records",
            "PatternSettings": "braggwatch.callbacks.sadp.pattern",
            "PlanVerdict": "braggwatch.callbacks.plans.verdict_plans",
            "PreprocessingSettings": "braggwatch.callbacks.cxdp.preprocess.preprocessing_settings",
            "ProvisionalScreening": "braggwatch.callbacks.cxdp.run.provisional",
            "ProvisionalSource": "braggwatch.callbacks.plans.verdict_source",
            "ProvisionalVerdict": "braggwatch.callbacks.cxdp.records",
            "Quality": "braggwatch.callbacks.cxdp.records",
            "RecentVerdicts": "braggwatch.callbacks.plans.verdict_source",
            "RockedRun": "braggwatch.callbacks.plans.early_end",
            "RockingCurve": "braggwatch.callbacks.cxdp.records",
            "ScreeningCallback": "braggwatch.callbacks.cxdp.screening_callback",
            "ScreeningReport": "braggwatch.callbacks.cxdp.records",
            "ScreeningResult": "braggwatch.callbacks.cxdp.records",
            "VerdictDevice": "braggwatch.callbacks.plans.verdict_device",
            "VerdictSource": "braggwatch.callbacks.plans.verdict_source",
            "measure_pattern": "braggwatch.callbacks.sadp.pattern",
            "preprocess_arrays": "braggwatch.callbacks.cxdp.preprocess.preprocessing",
            "rock_until_sure": "braggwatch.callbacks.plans.early_end",
            "screen_grid": "braggwatch.callbacks.plans.verdict_plans",
            "wait_for_verdict": "braggwatch.callbacks.plans.verdict_plans",
            "warm_up": "braggwatch.callbacks.cxdp.preprocess.preprocessing",
        },
    )

__all__ = [
    "AssemblySettings",
    "BurgersVisibility",
    "CpuPreprocessor",
    "GridScreening",
    "ModelInput",
    "ParticleState",
    "PatternCallback",
    "PatternModel",
    "PatternReport",
    "PatternResult",
    "PatternRunReport",
    "PatternRunResult",
    "PatternSettings",
    "PlanVerdict",
    "PreprocessingSettings",
    "ProvisionalScreening",
    "ProvisionalSource",
    "ProvisionalVerdict",
    "Quality",
    "RecentVerdicts",
    "RockedRun",
    "RockingCurve",
    "ScreeningCallback",
    "ScreeningReport",
    "ScreeningResult",
    "VerdictDevice",
    "VerdictSource",
    "measure_pattern",
    "preprocess_arrays",
    "rock_until_sure",
    "screen_grid",
    "wait_for_verdict",
    "warm_up",
]

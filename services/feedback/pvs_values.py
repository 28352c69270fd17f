"""The process variables and their readings: value, alarm severity and message, independent of any control system."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from braggwatch.callbacks.cxdp.records import BurgersVisibility, ProvisionalVerdict, ScreeningResult
from braggwatch.models.valid_text import sound_text
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.sim.errors import InputError

UNDEFINED: Final = "undefined"
"""First choice of every verdict variable: no verdict yet."""

COUNT: Final = "COUNT"
EPOCH: Final = "EPOCH"
HEARTBEAT: Final = "HEARTBEAT"

OOD_MAJOR: Final = 2.0
"""OOD score, in units of its threshold, from which the alarm is MAJOR."""

_NO_RESULT = "no result since the service started"
_NO_RUN = "no run is judged on its way"
_UNKNOWN = "unknown"
_INT64 = 2**63


class Severity(IntEnum):
    """Alarm severities of EPICS."""

    NO_ALARM = 0
    MINOR = 1
    MAJOR = 2
    INVALID = 3


@dataclass(frozen=True, slots=True)
class PvDefinition:
    """Definition of one variable; its name is without the prefix.

    Attributes
    ----------
    choices
        Meaning of each index of a variable of kind ``choice``; empty for other kinds.
    alarm_limits
        Values from which the severity is MINOR and MAJOR, for displays; None if it doesn't depend on the value alone.
    """

    name: str
    kind: Literal["text", "integer", "number", "choice"]
    description: str
    choices: tuple[str, ...] = ()
    alarm_limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A value with its alarm; for a ``choice`` the value is the index."""

    value: str | int | float
    severity: Severity = Severity.NO_ALARM
    message: str = ""


class PvTable:
    """The variables of one service and their readings.

    Parameters
    ----------
    classes
        Class names of the model. A result with another class (of a previous model) shows its class as
        text only.

    Raises
    ------
    ValueError
        If two classes would share a variable.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        outcomes = [outcome.value for outcome in Outcome if outcome is not Outcome.CLASSIFIED]
        self.choices = (UNDEFINED, *self._classes, *outcomes)
        names = {label: f"PROBABILITY:{re.sub('[^A-Z0-9]+', '_', label.upper())}" for label in self._classes}
        if len(set(names.values())) < len(names):
            raise InputError(f"classes {', '.join(self._classes)} can't be told apart in capitals")
        self._probabilities = names
        verdict = PvDefinition("VERDICT", "choice", "the class, or why there is none", self.choices)
        self.results = (
            PvDefinition("RUN_UID", "text", "uid of the raw run's start document"),
            PvDefinition("SCAN_ID", "integer", "scan number of the start document; -1 where it has none"),
            PvDefinition("SAMPLE", "text", "sample name of the start document"),
            PvDefinition("REVISION", "integer", "1 for the first verdict on the run"),
            PvDefinition("MODEL_ID", "text", "name and version of the model; empty where none ran"),
            PvDefinition("MODEL_SHA256", "text", "SHA-256 of the model file"),
            PvDefinition("FRAMES_EXPECTED", "integer", "frames announced by the documents; -1 if unknown"),
            PvDefinition("FRAMES_RECEIVED", "integer", "frames that arrived"),
            PvDefinition("COMPLETENESS", "number", "received over expected frames, 0 to 1"),
            PvDefinition("HKL", "text", "the reflection, e.g. (1 -1 1)"),
            PvDefinition(
                "BLIND_DIRECTIONS", "integer", "invisible Burgers directions (g.b = 0) of the lattice; -1: unknown"
            ),
            *(PvDefinition(name, "number", f"calibrated probability of {label}") for label, name in names.items()),
            PvDefinition("CONFIDENCE", "number", "the largest probability"),
            PvDefinition("OOD", "number", "OOD score divided by its threshold", (), (1.0, OOD_MAJOR)),
            PvDefinition("REASON", "text", "why there is no class, or what is missing of a partial run"),
            PvDefinition("IN_WORDS", "text", "the verdict in words"),
            PvDefinition("LABEL", "text", "the class, also of a partial run; empty where none is named"),
            verdict,
        )
        self.count = PvDefinition(COUNT, "integer", "results since the service started; set after all others")
        self.so_far = (
            PvDefinition("SO_FAR:RUN_UID", "text", "uid of the run in progress"),
            PvDefinition("SO_FAR:SCAN_ID", "integer", "its scan number; -1 where it has none"),
            PvDefinition("SO_FAR:MODEL_ID", "text", "name and version of the model"),
            PvDefinition("SO_FAR:COMPLETENESS", "number", "fraction of the frames used"),
            PvDefinition("SO_FAR:CONFIDENCE", "number", "the largest probability"),
            PvDefinition("SO_FAR:IN_WORDS", "text", "the verdict so far, in words"),
            PvDefinition("SO_FAR:LABEL", "text", "the class; empty where none is named"),
            PvDefinition("SO_FAR:VERDICT", "choice", "verdict if the run ended now", self.choices),
        )
        self.standing = (
            PvDefinition(EPOCH, "integer", "grows with each start of the service"),
            PvDefinition(HEARTBEAT, "integer", "counts once a second while scans can be classified"),
        )

    def unset(self, definition: PvDefinition) -> Reading:
        """Return the reading of a variable before the first verdict."""
        message = _NO_RUN if definition in self.so_far else _NO_RESULT
        return _undefined(definition.kind, message)

    def of_result(self, result: ScreeningResult) -> dict[str, Reading]:
        """Return the readings of all of `results`."""
        verdict = result.verdict
        label, reading = self._class(verdict, result.completeness)
        completeness = _number(result.completeness)
        if result.completeness is not None and result.completeness < 1.0:
            completeness = Reading(result.completeness, Severity.MINOR, "frames are missing")
        model = verdict.model
        withheld = label == "" and verdict.label is not None
        return {
            "RUN_UID": _text(result.run_uid),
            "SCAN_ID": _integer(result.scan_id),
            "SAMPLE": _text(result.sample),
            "REVISION": _integer(result.revision),
            "MODEL_ID": _text(None if model is None else model.id),
            "MODEL_SHA256": _text(None if model is None else model.sha256),
            "FRAMES_EXPECTED": _integer(result.frames_expected),
            "FRAMES_RECEIVED": _integer(result.frames_received),
            "COMPLETENESS": completeness,
            "HKL": _text(_hkl(result.burgers)),
            "BLIND_DIRECTIONS": _integer(result.blind_directions),
            **{name: _number(verdict.probabilities.get(label)) for label, name in self._probabilities.items()},
            "CONFIDENCE": _number(verdict.confidence),
            "OOD": _ood(verdict),
            "REASON": Reading(sound_text(verdict.reason or "")),
            "IN_WORDS": Reading(UNDEFINED if withheld else sound_text(result.in_words)),
            "LABEL": Reading(label),
            "VERDICT": reading,
        }

    def of_provisional(self, provisional: ProvisionalVerdict) -> dict[str, Reading]:
        """Return the readings of all of `so_far`."""
        verdict = provisional.verdict
        share = provisional.frames_received / provisional.frames_expected
        label, reading = self._class(verdict, share)
        withheld = label == "" and verdict.label is not None
        return {
            "SO_FAR:RUN_UID": _text(provisional.run_uid),
            "SO_FAR:SCAN_ID": _integer(provisional.scan_id),
            "SO_FAR:MODEL_ID": _text(None if verdict.model is None else verdict.model.id),
            "SO_FAR:COMPLETENESS": Reading(share),
            "SO_FAR:CONFIDENCE": _number(verdict.confidence),
            "SO_FAR:IN_WORDS": Reading(UNDEFINED if withheld else sound_text(provisional.in_words)),
            "SO_FAR:LABEL": Reading(label),
            "SO_FAR:VERDICT": reading,
        }

    def _class(self, verdict: Verdict, completeness: float | None) -> tuple[str, Reading]:
        """Return label and choice; no class if completeness or model are unknown."""
        if verdict.label is not None and (completeness is None or verdict.model is None):
            lacking = "completeness" if completeness is None else "model"
            return "", Reading(0, Severity.INVALID, f"class withheld: its {lacking} is unknown")
        label = sound_text(verdict.label or "")
        headline = verdict.headline
        if headline not in self.choices:
            return label, Reading(0, Severity.INVALID, f"{headline} is no class of the present model")
        severity = {Outcome.CLASSIFIED: Severity.NO_ALARM, Outcome.ERROR: Severity.MAJOR}
        return label, Reading(
            self.choices.index(headline),
            severity.get(verdict.outcome, Severity.MINOR),
            sound_text(verdict.reason or ""),
        )


def names_a_class(readings: Mapping[str, Reading]) -> bool:
    """Tell whether the readings of a result or a provisional verdict hold a class."""
    return any(bool(reading.value) for name, reading in readings.items() if name.split(":")[-1] == "LABEL")


def _ood(verdict: Verdict) -> Reading:
    if verdict.ood_score is None or not verdict.ood_threshold:
        return _undefined("number", _UNKNOWN)
    ratio = verdict.ood_score / verdict.ood_threshold
    if ratio >= OOD_MAJOR:
        return Reading(ratio, Severity.MAJOR, f"{OOD_MAJOR:g} times the limit or more")
    if ratio > 1.0:
        return Reading(ratio, Severity.MINOR, "above the limit")
    if verdict.outcome is Outcome.OUT_OF_DISTRIBUTION:
        return Reading(ratio, Severity.MINOR, sound_text(verdict.reason or verdict.outcome.value))
    return Reading(ratio)


def _hkl(burgers: BurgersVisibility | None) -> str | None:
    return None if burgers is None or burgers.hkl is None else "({} {} {})".format(*burgers.hkl)


def _undefined(kind: str, message: str) -> Reading:
    value: str | int | float = {"text": "", "integer": -1, "number": math.nan}.get(kind, 0)
    return Reading(value, Severity.INVALID, message)


def _text(value: str | None) -> Reading:
    return _undefined("text", _UNKNOWN) if value is None else Reading(sound_text(value))


def _integer(value: int | None) -> Reading:
    if value is None:
        return _undefined("integer", _UNKNOWN)
    if not -_INT64 <= value < _INT64:
        return _undefined("integer", f"{str(value)[:32]} does not fit into 64 bits")
    return Reading(value)


def _number(value: float | None) -> Reading:
    return _undefined("number", _UNKNOWN) if value is None else Reading(float(value))

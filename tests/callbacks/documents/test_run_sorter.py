"""Documents in any order, and twice or never: each run ends once, and nothing is held beyond its bounds."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.run_references import RunReferences
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.callbacks.sadp.judging import PatternModel
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import PatternReport, PatternRunReport
from braggwatch.models.verdict import Outcome
from support.patterns import QuickJudge, net, pattern_run

any_order = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Both:
    """Rocking curves and diffraction patterns side by side, with one clock to turn."""

    def __init__(self, bench, max_open_runs: int = 64, **assembly) -> None:
        self.bench = bench
        self.patterns: list[PatternReport | PatternRunReport] = []
        chosen = AssemblySettings(**assembly)
        judged = PatternCallback(
            PatternModel(QuickJudge(), 0.9),
            self.patterns.append,
            chosen,
            PatternLimits(max_open_runs=max_open_runs),
            clock=lambda: bench.now,
        )
        self.callback = ModalityCallback((judged, bench.callback), chosen, clock=lambda: bench.now)

    @property
    def curve_runs(self) -> Counter[str]:
        return Counter(report.result.run_uid for report in self.bench.reports)

    @property
    def pattern_runs(self) -> Counter[str]:
        return Counter(report.result.run_uid for report in self.patterns if isinstance(report, PatternRunReport))

    def end(self) -> None:
        self.bench.now += 10_000
        self.callback.expire(self.bench.now)
        self.callback.flush()


def documents_of(scan_of, tmp_path):
    """Four runs of four frames: curves by each route and one of patterns."""
    inline, filed, streamed = (scan_of(4, uid) for uid in ("inline", "filed", "streamed"))
    path = tmp_path / "scan.h5"
    if not path.exists():
        filed.write(path)
    patterns = pattern_run([net()] * 3)
    return [*inline.inline(), *filed.resource_datum(path), *streamed.streamed(path), *patterns], patterns.uid


CURVES = {"inline", "filed", "streamed"}


@any_order
@given(data=st.data())
def test_runs_whose_documents_come_in_any_order_end_once_and_whole(data, scan_of, bench_of, tmp_path, caplog):
    documents, pattern_uid = documents_of(scan_of, tmp_path)
    both = Both(bench_of())
    order = data.draw(st.permutations(range(len(documents))))
    for place in order:
        both.callback(*documents[place])
    assert both.curve_runs == Counter(CURVES)
    assert {report.result.verdict.outcome for report in both.bench.reports} == {Outcome.CLASSIFIED}
    assert both.pattern_runs == Counter([pattern_uid])
    last = both.patterns[-1]
    assert isinstance(last, PatternRunReport)
    assert last.result.judged == 3
    both.end()
    assert both.curve_runs == Counter(CURVES)
    # Patterns don't wait for a start document when all of them are judged.
    start, *others = range(len(documents) - 6, len(documents))
    assert both.callback.counters.late == (order.index(start) > max(map(order.index, others)))
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@any_order
@given(data=st.data())
def test_lost_repeated_and_late_documents_end_no_run_twice(data, scan_of, bench_of, tmp_path, caplog):
    documents, _ = documents_of(scan_of, tmp_path)
    chosen = data.draw(st.lists(st.sampled_from(range(len(documents))), max_size=60))
    max_open = data.draw(st.sampled_from([1, 2, 64]))
    limits = {"max_open_runs": max_open, "max_total_bytes": data.draw(st.sampled_from([2000, 10**9]))}
    limits |= {"max_orphans": data.draw(st.sampled_from([0, 3, 512]))}
    both = Both(bench_of(**limits), **limits)
    for place in chosen:
        both.callback(*documents[place])
        both.bench.now += data.draw(st.sampled_from([0.0, 0.1, 3.0]))
        assert both.callback.open_runs <= max_open
        assert both.bench.callback.held_bytes <= limits["max_total_bytes"]
    both.end()
    assert both.callback.open_runs == both.bench.callback.held_bytes == 0
    assert max(both.curve_runs.values(), default=0) <= 1
    assert both.pattern_runs.total() <= 1
    if max_open == 64:
        # whoever showed a detector, or a promise of frames, has a record
        seen = {
            documents[place][1].get("run_start") for place in chosen if documents[place][0] in ("descriptor", "stop")
        }
        assert seen & CURVES <= set(both.curve_runs)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@any_order
@given(data=st.data())
def test_every_document_is_handed_on_once_or_counted_late(data, scan_of, tmp_path):
    documents, _ = documents_of(scan_of, tmp_path)
    limits = AssemblySettings(
        max_orphans=data.draw(st.integers(0, 8)), max_orphan_bytes=data.draw(st.sampled_from([0, 3000]))
    )
    counters, handed, now = MutableCounters(), [], 0.0
    intake = DocumentIntake(lambda known, _: handed.extend(known), lambda _: None, counters, limits, lambda: now)
    for count, place in enumerate(data.draw(st.permutations(range(len(documents)))), 1):
        intake(*documents[place])
        assert 0 <= count - len(handed) - counters.late <= limits.max_orphans
    intake.flush()
    assert len(handed) + counters.late == len(documents)
    references = RunReferences()
    for known in handed:
        reference = references.follow(known.name, known.doc)
        assert reference.missing is None
        assert reference.run_uid == known.run_uid


class KeyListener(DocumentStream):
    """A third kind of measurement: keeps which data keys it is given."""

    @property
    def open_runs(self) -> int:
        return 0

    @property
    def counters(self) -> AssemblyCounters:
        return AssemblyCounters()

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.keys: set[str] = set()
        self.datums: list[str] = []
        self.left: list[str] = []

    def __call__(self, name, doc) -> None:
        raise AssertionError("a stream beside others is given checked documents")

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        for known in documents:
            doc: Mapping[str, Any] = known.doc
            group = {"descriptor": "data_keys", "event": "data"}.get(known.name)
            self.keys |= set(doc[group]) if group else set()
            self.datums += [doc["stream_resource"]] if known.name == "stream_datum" else []

    def claims(self, start: Mapping[str, Any] | None, descriptor: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(
            key for key, value in descriptor["data_keys"].items() if value.get("modality") == self.modality
        )

    def leave_to_others(self, run_uid: str) -> None:
        self.left.append(run_uid)

    def expire(self, now_monotonic: float) -> None:
        pass

    def flush(self) -> None:
        pass


def test_a_key_that_one_kind_declares_never_reaches_another(scan, tmp_path):
    path = tmp_path / "scan.h5"
    documents = [
        scan.start(),
        scan.event(0, {"det": np.zeros((24, 20)), **scan.readings(0)}),
        scan.descriptor(),
        scan.stream_resource(path, "det"),
        scan.stream_resource(path, "monitor"),
        scan.stream_datum(0, 1, "det"),
        scan.stream_datum(0, 1, "monitor"),
        scan.stop(),
    ]
    documents[2][1]["data_keys"]["det"]["modality"] = "apt"
    documents[2][1]["data_keys"]["monitor"]["modality"] = "cxdp"
    listeners = {name: KeyListener(name) for name in ("apt", "cxdp", "other")}
    callback = ModalityCallback(tuple(listeners.values()))
    for name, doc in documents:
        callback(name, doc)
    assert all(listener.left == [scan.uid] for listener in listeners.values())
    assert {name: listener.keys for name, listener in listeners.items()} == {
        "apt": {"det", "th"},
        "cxdp": {"monitor", "th"},
        "other": {"th"},
    }
    assert {name: listener.datums for name, listener in listeners.items()} == {
        "apt": ["run-1-det-sr"],
        "cxdp": ["run-1-monitor-sr"],
        "other": [],
    }


@pytest.mark.parametrize(
    ("name", "doc", "rejected", "late"),
    [
        ("event", {"uid": "e"}, {"schema": 1}, 0),
        ("event", {"uid": "e", "descriptor": "never", "seq_num": 1, "time": 0.0, "data": {}}, {}, 1),
    ],
)
def test_what_none_can_use_counts_once(name, doc, rejected, late, bench_of):
    both = Both(bench_of())
    both.callback(name, doc)
    both.end()
    assert both.callback.counters.rejected == rejected
    assert both.callback.counters.late == late


def test_an_evicted_derived_or_unwanted_run_frees_what_it_held(scan_of, bench):
    """A start document that shows a derived run late takes back what was begun for it."""
    scan = scan_of(4, "derived")
    start, *rest = scan.inline()
    bench.feed(rest[:3])
    assert bench.callback.held_bytes > 0
    start[1]["original_run_uid"] = "raw"
    bench.feed([start, *rest[3:]]).wait(10_000)
    assert bench.callback.held_bytes == 0
    assert not bench.reports
    assert bench.callback.counters.skipped_runs == 1

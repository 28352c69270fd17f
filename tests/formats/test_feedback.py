"""Results told to others: as derived runs and as process variables."""

from __future__ import annotations

import pytest

from braggwatch.services.cxdp.live import derived_run as result_run
from braggwatch.services.feedback.pvs import VerdictPvs
from braggwatch.services.feedback.pvs_values import PvTable
from braggwatch.services.sadp.live import derived_run as patterns_run
from braggwatch.services.settings import PvSettings
from support.format_samples import CLASSES, particle, pattern_run, patterns, provisional, results
from support.golden import Golden


@pytest.mark.parametrize("word", list(results()))
def test_a_result_is_the_same_derived_run(golden: Golden, word: str) -> None:
    golden.same_json(f"derived/{word}.json", [list(pair) for pair in result_run.derived_run(results()[word], epoch=7)])


def test_a_run_of_patterns_is_the_same_derived_run(golden: Golden) -> None:
    documents = [
        *patterns_run.opening(patterns()[0]),
        *(patterns_run.pattern_event(one) for one in patterns()),
        *patterns_run.closing(pattern_run(), [particle()]),
    ]
    golden.same_json("derived/patterns.json", [list(pair) for pair in documents])


def test_the_process_variables_are_the_same(golden: Golden) -> None:
    table = PvTable(CLASSES)
    groups = {
        "results": table.results,
        "count": (table.count,),
        "so_far": table.so_far,
        "standing": table.standing,
    }
    golden.same_json(
        "pvs/definitions.json",
        {
            group: {
                one.name: {"kind": one.kind, "choices": list(one.choices), "alarm_limits": one.alarm_limits}
                for one in members
            }
            for group, members in groups.items()
        },
    )


def test_the_process_variables_say_the_same(golden: Golden) -> None:
    table = PvTable(CLASSES)
    said = {word: table.of_result(result) for word, result in results().items()}
    said["provisional"] = table.of_provisional(provisional())
    said["unset"] = {one.name: table.unset(one) for one in (*table.results, *table.so_far, *table.standing)}
    golden.same_json(
        "pvs/readings.json",
        {
            word: {name: [repr(one.value), int(one.severity), one.message] for name, one in readings.items()}
            for word, readings in said.items()
        },
    )


def test_a_variable_has_the_same_structure_on_the_wire(golden: Golden) -> None:
    client = pytest.importorskip("p4p.client.thread", reason="needs the epics extra")
    settings = PvSettings(prefix="GOLDEN:", port=0, search_port=0)
    sink = VerdictPvs(settings, 7, CLASSES)
    try:
        with client.Context("pva", conf=sink.client_configuration, useenv=False, nt=False) as context:
            names = ("VERDICT", "SCAN_ID", "CONFIDENCE", "OOD", "REASON")
            types = {name: context.get(f"GOLDEN:{name}", timeout=10.0).type().aspy() for name in names}
    finally:
        sink.close()
    golden.same_json("pvs/structures.json", types)

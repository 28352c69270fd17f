"""The records of results as JSON: in the store, over HTTP and in events."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from support.format_samples import full_result, particle, pattern_run, patterns, provisional, results
from support.golden import Golden
from support.schemas import fields

RECORDS: dict[str, BaseModel] = {
    **{f"result-{word}": result for word, result in results().items()},
    "provisional": provisional(),
    "pattern": patterns()[0],
    "pattern-set-aside": patterns()[1],
    "particle": particle(),
    "pattern-run": pattern_run(),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_the_same_json_and_read_back(golden: Golden, name: str) -> None:
    record = RECORDS[name]
    text = record.model_dump_json(indent=1) + "\n"
    golden.same_text(f"record/{name}.json", text)
    written = golden.made_once(f"record/{name}.json", lambda path: path.write_text(text, encoding="utf-8"))
    assert type(record).model_validate_json(written.read_bytes()) == record


def test_the_full_record_leaves_no_field_at_its_default() -> None:
    left = [*_at_default(full_result(), "result"), *_at_default(provisional(), "provisional")]
    # A run on its way has a class as any, whose own fields the full record shows.
    assert [one for one in left if not one.startswith("provisional.verdict.")] == []


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("result", ScreeningResult),
        ("provisional", ProvisionalVerdict),
        ("pattern", PatternResult),
        ("particle", ParticleState),
        ("pattern-run", PatternRunResult),
    ],
)
def test_a_record_has_the_same_fields(golden: Golden, name: str, record: type[BaseModel]) -> None:
    golden.same_json(f"record/{name}-fields.json", fields(record.model_json_schema()))


def _at_default(record: BaseModel, place: str) -> list[str]:
    left: list[str] = []
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if not field.is_required() and value == field.get_default(call_default_factory=True):
            left.append(f"{place}.{name}")
        if value is None:
            left.append(f"{place}.{name}")
        if isinstance(value, BaseModel):
            left += _at_default(value, f"{place}.{name}")
    return left

"""A mapping that forgets: never more than it may hold, the newest always there, and what goes is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.bounded import Bounded

puts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=40)


@given(puts=puts, entries=st.none() | st.integers(0, 6), most_bytes=st.none() | st.integers(0, 120))
def test_it_holds_the_newest_that_fit_and_returns_the_rest(puts, entries, most_bytes):
    size_of = None if most_bytes is None else (lambda value: value)
    bounded = Bounded[int, int](entries, most_bytes=most_bytes, size_of=size_of)
    model: list[tuple[int, int]] = []
    for key, value in puts:
        forgotten = bounded.put(key, value)
        model = [(k, v) for k, v in model if k != key] + [(key, value)]
        gone = 0
        while (entries is not None and len(model) - gone > entries) or (
            most_bytes is not None and sum(v for _, v in model[gone:]) > most_bytes and len(model) - gone > 1
        ):
            gone += 1
        assert forgotten == model[:gone]
        model = model[gone:]
        assert list(bounded.items()) == model


def test_what_was_only_read_may_be_made_the_newest():
    bounded = Bounded[str, int](2)
    bounded["a"], bounded["b"] = 1, 2
    bounded.move_to_end("a")
    bounded["c"] = 3
    assert list(bounded) == ["a", "c"]


@pytest.mark.parametrize("limits", [{"entries": -1}, {"most_bytes": 3}, {"size_of": len}])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError, match="limit"):
        Bounded(**limits)

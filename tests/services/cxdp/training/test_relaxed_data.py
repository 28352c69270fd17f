"""Libraries of relaxed crystals: parts make the whole, and what killed processes left goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from braggwatch.services.batch.shards import part_of
from braggwatch.services.cxdp.training.relaxed_libraries import make_library
from braggwatch.sim.cxdp.relaxation.configuration import RelaxationSpec
from braggwatch.sim.cxdp.relaxation.library import read_entries

SMALL = RelaxationSpec(potentials=("zhou2004/Pt",), cells_across=(8, 8))


def test_parts_make_the_whole_and_leftovers_go(tmp_path: Path):
    told: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        for part in ((1, 2), (2, 2)):
            (path,) = make_library(tmp_path, SMALL, 12, part=part, executor=executor, on_shard=told.append)
            leftover = path.with_suffix(".99999.partial")
            leftover.touch()
        whole = make_library(tmp_path, SMALL, 12, executor=executor)
    assert told == [10, 2]
    assert [entry.index for path in whole for entry in read_entries(path)] == list(range(12))
    assert list(tmp_path.glob("*partial")) == []


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "a/b"])
def test_a_part_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="part"):
        part_of(text)

"""Libraries of relaxed crystals: parts make the whole, and what killed processes left goes."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from braggwatch.services.batch.shards import part_of
from braggwatch.services.cxdp.training.relaxed_libraries import make_library
from braggwatch.sim.cxdp.relaxation.configuration import RelaxationSpec
from braggwatch.sim.cxdp.relaxation.library import CrystalLibrary, read_entries
from braggwatch.sim.cxdp.relaxation.model import RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.setfl import write_setfl
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential
from braggwatch.sim.shard_errors import ForeignShardError, ShardError

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


UNRELAXED = SMALL.model_copy(update={"settings": RelaxationSettings(protocol="none")})


def make(folder: Path, crystals: int, first: int = 0, spec: RelaxationSpec = UNRELAXED) -> list[Path]:
    with ThreadPoolExecutor(1) as executor:
        return make_library(folder, spec, crystals, first=first, executor=executor)


def numbers(folder: Path) -> list[int]:
    return sorted(entry.index for path in folder.glob("relaxed-*.h5") for entry in read_entries(path))


def test_a_library_that_grows_holds_every_crystal_once(tmp_path: Path) -> None:
    make(tmp_path, 3)
    kept = next(tmp_path.glob("*.h5")).read_bytes()
    five = make(tmp_path, 5)
    assert next(tmp_path.glob("*.h5")).read_bytes() != kept
    assert numbers(tmp_path) == list(range(5))
    grown = CrystalLibrary(tmp_path)
    before = five[0].stat().st_mtime_ns
    both = make(tmp_path, 8, first=2)
    assert numbers(tmp_path) == list(range(10))
    assert five[0].stat().st_mtime_ns == before
    assert set(five) < set(both)
    assert CrystalLibrary(tmp_path).digest != grown.digest
    make(tmp_path, 12)
    assert numbers(tmp_path) == list(range(12))
    make(tmp_path / "whole", 12)
    whole, pieces = CrystalLibrary(tmp_path / "whole"), CrystalLibrary(tmp_path)
    assert {whole.identity(n) for n in range(len(whole))} == {pieces.identity(n) for n in range(len(pieces))}


def test_a_shard_cut_short_is_named_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = make(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ShardError, match=path.name):
        CrystalLibrary(tmp_path)
    with caplog.at_level(logging.WARNING):
        make(tmp_path, 2)
    assert path.name in caplog.text
    assert "Made anew" in caplog.text
    assert numbers(tmp_path) == [0, 1]


def test_atoms_that_are_damaged_are_found_and_relaxed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import h5py

    (path,) = make(tmp_path, 1)
    with h5py.File(path) as file:
        chunk = file["000000/positions"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 16] = bytes(16)
    path.write_bytes(bytes(content))
    with pytest.raises(ShardError, match=path.name):
        CrystalLibrary(tmp_path).positions_A(0)
    make(tmp_path, 1)
    assert path.name in caplog.text
    assert len(CrystalLibrary(tmp_path).positions_A(0))


def test_a_potential_replaced_under_its_name_is_noticed(tmp_path: Path) -> None:
    metal = tmp_path / "metal.eam.alloy"
    spec = UNRELAXED.model_copy(update={"potentials": (str(metal),)})
    digests: list[str] = []
    for element in ("Pt", "Au"):
        write_setfl(zhou_potential(element), metal)
        if digests:
            with pytest.raises(ForeignShardError, match=r"another potential than .*metal\.eam\.alloy is now"):
                make(tmp_path / "Pt", 2, spec=spec)
            with pytest.raises(ForeignShardError, match="another potential"):
                make(tmp_path / "Pt", 2, first=1, spec=spec)
        make(tmp_path / element, 2, spec=spec)
        digests.append(CrystalLibrary(tmp_path / element).digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "a/b"])
def test_a_part_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="part"):
        part_of(text)

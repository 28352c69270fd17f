"""Files of simulated data: names, types and attributes of all that is in them, and files of earlier versions read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from pydantic_core import to_jsonable_python
from typer.testing import CliRunner

from braggwatch.services.apt.training.volume_data import make_sdm_library
from braggwatch.services.cli import app
from braggwatch.services.cxdp.training.dataset_card import write_card
from braggwatch.services.cxdp.training.shard_making import make_dataset
from braggwatch.sim.apt.files import read_truth
from braggwatch.sim.apt.library import load_library_spec
from braggwatch.sim.apt.sdm_shards import read_sdm_shard
from braggwatch.sim.cxdp.datasets import DatasetSpec, read_shard
from support.golden import Golden
from support.hdf5 import dataset

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Of the code that wrote it, not of the format.
PASSING = ("code_version",)


def test_a_shard_of_cxdps_has_the_same_structure(golden: Golden, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        (path,) = make_dataset(tmp_path, DatasetSpec(), 1, executor=executor)
    volumes, infos = read_shard(path)
    assert (volumes.dtype, volumes.shape) == (np.float16, (1, 64, 64, 64))
    golden.same_json("data/cxdp-shard.json", {"name": path.name, **structure(path)})
    with h5py.File(path) as file:
        info = json.loads(dataset(file, "info")[0])
    golden.same_json("data/cxdp-info.json", kinds(info))
    assert info["label"] == infos[0].label
    write_card(tmp_path)
    golden.same_json("data/cxdp-card.json", kinds(json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))))


def test_a_shard_of_maps_has_the_same_structure(golden: Golden, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        (path,) = make_sdm_library(tmp_path, load_library_spec("equal"), 0, 1, executor=executor)
    golden.same_json("data/sdm-shard.json", {"name": path.name, **structure(path)})


def test_a_shard_of_maps_of_an_earlier_version_is_read(golden: Golden, tmp_path: Path) -> None:
    def make(path: Path) -> None:
        with ThreadPoolExecutor(1) as executor:
            (made,) = make_sdm_library(tmp_path, load_library_spec("equal"), 0, 1, executor=executor)
        path.write_bytes(made.read_bytes())

    shard = read_sdm_shard(golden.made_once("data/sdm-shard.h5", make))
    golden.same_json("data/sdm-shard-read.json", read_back(shard))


def test_a_simulated_volume_is_the_same_files(golden: Golden, tmp_path: Path) -> None:
    call = ["apt", "simulate", "--kind", "D", "--ions", "20000", "--seed", "3", "--out", str(tmp_path)]
    answer = CliRunner().invoke(app, call)
    assert answer.exit_code == 0, answer.output
    files = {path.name: path for path in sorted(tmp_path.iterdir())}
    golden.same_json("data/volume-files.json", list(files))
    golden.same_text("data/volume.rrng", files["apt-D-3.rrng"].read_text(encoding="utf-8"))
    golden.same_json("data/volume-truth.json", structure(files["apt-D-3-truth.h5"], lengths=False))
    golden.same_json("data/volume-facts.json", kinds(json.loads(files["apt-D-3.json"].read_text(encoding="utf-8"))))
    table = files["apt-D-3-precipitates.csv"].read_text(encoding="utf-8")
    golden.same_json("data/volume-precipitates.json", table.splitlines()[0].split(","))
    # .pos: four big-endian single-precision numbers an ion, x, y, z in nanometre and the mass-to-charge ratio.
    ions = np.fromfile(files["apt-D-3.pos"], ">f4").reshape(-1, 4)
    assert len(ions) == len(read_truth(files["apt-D-3-truth.h5"])[0].precipitate)
    assert 5.0 < float(ions[:, 3].min()) < float(ions[:, 3].max()) < 100.0


def test_a_file_of_diffraction_patterns_has_the_same_structure(golden: Golden, tmp_path: Path) -> None:
    pytest.importorskip("gemmi", reason="needs the sadp extra")
    _make_patterns(tmp_path / "patterns-0000.h5")
    golden.same_json("data/patterns.json", structure(tmp_path / "patterns-0000.h5", lengths=False))
    card = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    golden.same_json("data/patterns-card.json", kinds(card))


def test_a_file_of_diffraction_patterns_of_an_earlier_version_is_read(golden: Golden) -> None:
    pytest.importorskip("gemmi", reason="needs the sadp extra")
    from braggwatch.sim.sadp.pattern_files import read_patterns

    def make(path: Path) -> None:
        _make_patterns(path)
        for name in ("dataset.json", "CARD.md"):
            path.with_name(name).unlink()

    found = read_patterns(golden.made_once("data/patterns.h5", make))
    golden.same_json("data/patterns-read.json", read_back(found))


def _make_patterns(path: Path) -> None:
    from braggwatch.services.sadp.training.pattern_data import make_file, pattern_tasks, write_card
    from braggwatch.sim.sadp.dataset import PatternSpec

    spec = PatternSpec(zones=((0, 0, 1),), per_zone=2)
    (task, *_) = pattern_tasks(path.parent, spec, groups=(213,))
    task = type(task)(path, spec, task.structures[:1])
    make_file(task)
    write_card(path.parent, spec, [path])


def structure(path: Path, *, lengths: bool = True) -> dict[str, object]:
    """Names, types, shapes, compression and attributes of all that an HDF5 file holds; of text the type alone."""
    found: dict[str, object] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        facts: dict[str, object] = {"attributes": {key: _attribute(key, item) for key in sorted(item.attrs)}}
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            facts["type"] = item.dtype.str if text is None else f"{text.encoding} text"
            facts["shape"] = list(item.shape) if lengths else len(item.shape)
            facts["compression"] = item.compression
            facts["checksum"] = bool(item.fletcher32)
        found[name] = facts

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


def _attribute(key: str, item: h5py.Group | h5py.Dataset) -> object:
    value = item.attrs[key]
    if isinstance(value, str):
        if key in PASSING:
            return "text"
        return json.loads(value) if value.startswith(("{", "[")) else value
    return {"type": np.asarray(value).dtype.str, "value": np.asarray(value).tolist()}


def kinds(value: object) -> object:
    """A JSON value with a word for the type of each number and text, and a list by its first entry."""
    if isinstance(value, dict):
        return {key: kinds(one) for key, one in value.items()}
    if isinstance(value, list):
        return [kinds(one) for one in value[:1]]
    return type(value).__name__


def read_back(record: DataclassInstance) -> dict[str, object]:
    """The fields of a record of arrays: type, shape and hash of each array, the rest as JSON."""
    found: dict[str, object] = {}
    for one in dataclasses.fields(record):
        name, value = one.name, getattr(record, one.name)
        if isinstance(value, np.ndarray):
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            found[name] = [value.dtype.str, list(value.shape), digest]
        else:
            found[name] = to_jsonable_python(value)
    return found

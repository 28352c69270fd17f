"""The command that makes atom probe data: what it writes, that it resumes, and what it says of bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.services.apt.training.volume_data import make_sdm_library, make_sdm_shard, sdm_shard_tasks
from braggwatch.services.cli import app
from braggwatch.sim.apt.files import read_truth
from braggwatch.sim.apt.library import load_library_spec
from braggwatch.sim.apt.sdm_shards import read_sdm_shard
from braggwatch.sim.apt.volume import load_volume_spec


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["apt", "simulate", *words])
    return result.exit_code, result.stdout, result.stderr


def test_a_volume_is_written_with_its_ranges_truth_and_parameters(tmp_path: Path) -> None:
    words = ["--kind", "C", "--ions", "40000", "--seed", "4", "--json", "--out"]
    code, out, _ = run(*words, str(tmp_path / "first"))
    assert code == 0
    made = json.loads(out)
    ions = np.fromfile(made["pos"], dtype=">f4").reshape(-1, 4)
    assert len(ions) == made["ions"] == pytest.approx(40000, rel=0.03)
    truth, spec, seed = read_truth(Path(made["truth"]))
    assert (spec, seed) == (load_volume_spec("C").sized_for(40000), 4)
    assert truth.precipitate.shape == (made["ions"],)
    with Path(made["precipitates"]).open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["ions"]) for row in rows) == truth.ordered.sum()
    assert json.loads(Path(made["parameters"]).read_text())["spec"]["alloy"] == "al-li"
    assert "Al:1" in Path(made["rrng"]).read_text()

    again = json.loads(run(*words, str(tmp_path / "again"))[1])
    for name in ("pos", "rrng", "precipitates", "parameters"):
        assert Path(made[name]).read_bytes() == Path(again[name]).read_bytes()


def test_a_volume_may_be_specified_in_a_file(tmp_path: Path) -> None:
    config = tmp_path / "world.json"
    world = load_volume_spec("B").sized_for(20000).model_copy(update={"alloy": "al-sc", "pole": (0, 0, 1)})
    config.write_text(world.model_dump_json())
    code, out, _ = run("--config", str(config), "--out", str(tmp_path), "--json")
    assert code == 0
    assert "Sc:1" in Path(json.loads(out)["rrng"]).read_text()


def test_maps_are_made_in_shards_and_made_again_only_where_damaged(tmp_path: Path) -> None:
    spec = load_library_spec("equal")
    tasks = sdm_shard_tasks(tmp_path, spec, 5, 100, shard_size=64)
    assert [(t.start, t.stop) for t in tasks] == [(0, 64), (64, 100)]
    done = [make_sdm_shard(task) for task in tasks]
    assert [(d.asked, d.kept, d.problem) for d in done] == [(64, False, ""), (36, False, "")]
    whole = np.concatenate([read_sdm_shard(t.path).maps for t in tasks])
    assert whole.shape == (100, *spec.map_shape)

    tasks[1].path.write_bytes(tasks[1].path.read_bytes()[:500])
    redone = [make_sdm_shard(task) for task in tasks]
    assert [(d.kept, "damaged" in d.problem) for d in redone] == [(True, False), (False, True)]
    np.testing.assert_array_equal(np.concatenate([read_sdm_shard(t.path).maps for t in tasks]), whole)


def test_processes_make_the_same_maps_and_parts_make_the_whole(tmp_path: Path) -> None:
    spec = load_library_spec("equal")
    (path,) = make_sdm_library(tmp_path / "p", spec, 5, 64, part=(2, 2), shard_size=32, workers=1)
    parts = [sdm_shard_tasks(tmp_path, spec, 5, 64, part=(i, 2), shard_size=32) for i in (1, 2)]
    assert [task for part in parts for task in part] == sdm_shard_tasks(tmp_path, spec, 5, 64, shard_size=32)
    make_sdm_shard(parts[1][0])
    assert path.name == parts[1][0].path.name
    np.testing.assert_array_equal(read_sdm_shard(path).maps, read_sdm_shard(parts[1][0].path).maps)


def test_bad_input_is_told_in_a_line_with_exit_code_3(tmp_path: Path) -> None:
    config = tmp_path / "world.json"
    config.write_text('{"alloy": "al-li", "colour": "red"}')
    for words, why in (
        (["--ions", "1000"], "too small"),
        (["--config", str(config)], "colour"),
        (["--config", str(tmp_path / "none.json")], "none.json"),
        (["--sdms", "10", "--shard", "3/2"], "does not exist"),
    ):
        code, _, told = run(*words, "--out", str(tmp_path))
        assert (code, why in told) == (3, True), told

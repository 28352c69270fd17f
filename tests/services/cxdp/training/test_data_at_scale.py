"""Data sets made by many processes: the same files whoever makes them, and none lost with a process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.services.batch import executors
from braggwatch.services.batch.executors import dask_executor, one_core_each
from braggwatch.services.batch.shards import ShardDone
from braggwatch.services.cli import app
from braggwatch.services.cli.shard_progress import time_left
from braggwatch.services.cxdp.training import shard_making as training_data
from braggwatch.services.cxdp.training.dataset_card import check_card, write_card
from braggwatch.services.cxdp.training.shard_making import ShardSource, make_dataset, shard_tasks
from braggwatch.sim.cxdp.datasets import CrystalSource, DatasetSpec, Preprocess, Sample, SampleInfo, read_shard
from braggwatch.sim.cxdp.library_crystals import LibraryCrystals
from braggwatch.sim.cxdp.outliers import OutlierKind

SPEC = DatasetSpec(seed=11)
CLEAN = DatasetSpec(seed=11, nuisance="none")
SAMPLES, SHARD = 8, 2


class Here(Executor):
    """Runs everything at once in this process."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[object] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except (ValueError, OSError) as error:
            future.set_exception(error)
        return future


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set as one process makes it."""
    folder = tmp_path_factory.mktemp("serial")
    make_dataset(folder, SPEC, SAMPLES, shard_size=SHARD, executor=Here())
    return folder


def quick_sample(
    spec: DatasetSpec, number: int, preprocess: Preprocess, crystals: CrystalSource | None = None
) -> Sample | str:
    """Stand in for the physics: noise that depends on seed and number alone."""
    rng = np.random.default_rng((spec.seed, number))
    config = number if crystals is None else crystals.configuration(number)
    label = spec.classes[number % 3] if crystals is None else crystals.draw(rng, config).label
    info = SampleInfo(config, label, "Pt", (-1, 1, 1), 1.0, 0.1, 1e4, 200.0, 1.0, strain_rad=0.1 * number)
    return Sample(rng.random((64, 64, 64), dtype=np.float32), info)


def quick_outlier(spec: DatasetSpec, kind: OutlierKind, config: int, preprocess: Preprocess) -> Sample | str:
    made = quick_sample(spec, config, preprocess)
    if isinstance(made, str) or config == 1:
        return "refused for the test"
    return Sample(made.intensity, replace(made.info, strain_rad=None))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data sets of files of two samples, made quickly in this process."""
    monkeypatch.setattr(training_data, "make_sample", quick_sample)
    monkeypatch.setattr(training_data, "make_outlier", quick_outlier)
    monkeypatch.setattr(training_data, "make_dataset", lambda *a, **k: make_dataset(*a, **k, shard_size=2))
    monkeypatch.setattr(training_data, "shard_tasks", lambda *a, **k: shard_tasks(*a, **{**k, "shard_size": 2}))
    monkeypatch.setattr(executors, "one_core_each", lambda workers: ThreadPoolExecutor(1))
    return tmp_path / "data"


def cxdp(folder: Path, *options: str) -> dict[str, object]:
    ran = CliRunner().invoke(app, ["sim", "cxdp", "--out", str(folder), "--json", *options])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_parts_are_the_whole(small: Path, tmp_path: Path) -> None:
    parts = [cxdp(small, "--n", "5", "--shard", f"{i}/2")["shards"] for i in (1, 2)]
    assert [len(part) for part in parts] == [2, 1]  # type: ignore[arg-type]
    cxdp(tmp_path / "whole", "--n", "5")
    assert contents(small) == contents(tmp_path / "whole")
    assert len(contents(small)) == 3


def test_more_parts_than_files_is_no_error(small: Path) -> None:
    assert cxdp(small, "--n", "2", "--shard", "5/5")["shards"] == []


def test_a_truncated_shard_is_made_again_and_said(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    cxdp(small, "--n", "4")
    before = contents(small)
    name = sorted(before)[0]
    (small / name).write_bytes(before[name][: len(before[name]) // 2])
    # a process that was killed left this
    (small / f"{Path(name).stem}.123-0badcafe.partial").write_bytes(b"half")
    told = cxdp(small, "--n", "4")
    assert (told["remade"], told["kept"]) == ([name], 1)
    assert f"{name} is damaged" in caplog.text
    assert contents(small) == before
    assert not list(small.glob("*.partial"))


def test_a_short_last_shard_is_filled(small: Path) -> None:
    cxdp(small, "--n", "3")
    assert cxdp(small, "--n", "4")["kept"] == 1
    assert sum(len(read_shard(path)[1]) for path in small.glob("*.h5")) == 4


def test_a_shard_of_another_data_set_is_not_overwritten(small: Path) -> None:
    first = Path(cxdp(small, "--n", "2")["shards"][0])  # type: ignore[index]
    other = first.with_name(first.name.replace("000000", "000002"))
    other.write_bytes(first.read_bytes())
    ran = CliRunner().invoke(app, ["sim", "cxdp", "--out", str(small), "--n", "4"])
    assert ran.exit_code == 3
    assert "belongs to another data set" in ran.output
    assert other.read_bytes() == first.read_bytes()


def test_the_card_says_what_is_there_and_how_to_make_it_again(small: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"seed": 5}')
    cxdp(small, "--n", "4")
    cxdp(small, "--n", "3", "--config", str(config), "--nuisance", "none")
    cxdp(small, "--n", "4", "--outliers", "exposed")
    record = json.loads((small / "dataset.json").read_text())
    clean, measured, outliers = sorted(record["sets"], key=lambda made: (made["name"][:4], made["nuisance"] != "none"))
    assert (measured["samples"], measured["labels"]) == (4, {"perfect": 2, "edge": 1, "screw": 1})
    assert (clean["nuisance"], clean["seed"], clean["samples"]) == ("none", 5, 3)
    assert outliers["nuisance"] == "measured"
    assert (outliers["samples"], outliers["refused"]) == (3, {"refused for the test": 1})
    card = (small / "CARD.md").read_text()
    assert measured["strain_rad"] == pytest.approx([0.0, 0.15, 0.3])
    assert "| smooth strain, rms | 0.00 to 0.30 rad, median 0.15 |" in card
    assert outliers["strain_rad"] is None
    for shard in record["shards"]:
        assert shard["sha256"] in card
    # the commands on the card, as they stand there, give the same files
    again = tmp_path / "again"
    again.mkdir()
    (again / f"spec-{clean['digest']}.json").write_bytes((small / f"spec-{clean['digest']}.json").read_bytes())
    here = Path.cwd()
    os.chdir(again)
    try:
        for made in record["sets"]:
            for command in made["commands"]:
                assert f"$ {command}" in card
                ran = CliRunner().invoke(app, command.split()[1:])
                assert ran.exit_code == 0, ran.output
    finally:
        os.chdir(here)
    assert contents(again) == contents(small)


def test_the_check_of_a_card_finds_every_difference(small: Path) -> None:
    cxdp(small, "--n", "6")
    assert check_card(small).ok
    assert CliRunner().invoke(app, ["sim", "card", str(small), "--verify"]).exit_code == 0
    first, second, third = sorted(small.glob("*.h5"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(bytes(data))
    second.rename(second.with_name(second.name.replace("000002", "000012")))
    check = check_card(small)
    assert check.changed == (first.name,)
    assert check.missing == (second.name,)
    assert [name[-9:] for name in check.unlisted] == ["000012.h5"]
    ran = CliRunner().invoke(app, ["sim", "card", str(small), "--verify"])
    assert ran.exit_code == 1
    assert f"changed: {first.name}" in ran.output
    third.write_bytes(b"")
    assert third.name in write_card(small).unreadable
    assert f"{third.name} is damaged" in (small / "CARD.md").read_text()


def test_a_folder_without_shards_or_card_is_said(tmp_path: Path) -> None:
    for options in ((), ("--verify",)):
        ran = CliRunner().invoke(app, ["sim", "card", str(tmp_path), *options])
        assert ran.exit_code == 3
        assert "error" in ran.output


def test_a_source_knows_which_samples_are_clean(tmp_path: Path) -> None:
    paths = [path for spec in (SPEC, CLEAN) for path in make_dataset(tmp_path, spec, 1, first=1, executor=Here())]
    source = ShardSource(paths, ("perfect", "screw", "edge"))
    assert source.clean(np.asarray([0, 1, 1])).tolist() == [False, True, True]
    volumes, labels = source.batch(np.asarray([1]))
    assert labels.tolist() == [1]
    assert float(volumes.max()) == pytest.approx(np.log1p(1e6), rel=1e-3)


class TwoCrystals:
    digest = "feedfacecafebeef"

    def __len__(self) -> int:
        return 2

    def crystal(self, index, rng, hkl, size_nm):  # type: ignore[no-untyped-def]
        from braggwatch.sim.cxdp.crystal import build_crystal, random_crystal_spec

        spec = random_crystal_spec(np.random.default_rng(index), ("perfect", "screw")[index], hkl=hkl or (1, 1, 1))
        return build_crystal(spec.model_copy(update={"size_nm": size_nm, "points_across": 8}))


def test_a_library_of_relaxed_crystals_is_drawn_from(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(
        folder: Path, spec: DatasetSpec, patterns_per_crystal: int, only: frozenset[int] | None = None
    ) -> LibraryCrystals:
        return LibraryCrystals(TwoCrystals(), spec.population, spec.visible, patterns_per_crystal)

    monkeypatch.setattr(training_data, "open_library", opened)
    options = ("--library", "anywhere", "--patterns-per-crystal", "2")
    told = cxdp(small, *options)
    names = [Path(str(name)).name for name in told["shards"]]  # type: ignore[union-attr]
    stem = f"cxdp-{DatasetSpec().digest()}-relaxed-feedfacecafex2"
    assert names == [f"{stem}-000000.h5", f"{stem}-000002.h5"]
    infos = [info for name in names for info in read_shard(small / name)[1]]
    assert [(info.config, info.label) for info in infos] == [
        (0, "perfect"),
        (0, "perfect"),
        (1, "screw"),
        (1, "screw"),
    ]
    record = json.loads((small / "dataset.json").read_text())
    assert record["sets"][0]["crystals"] == "relaxed-feedfacecafex2"
    assert record["sets"][0]["configurations"] == 2
    assert "--library LIBRARY --patterns-per-crystal 2 --first 0" in (small / "CARD.md").read_text()
    for wrong, why in ((("--first", "1", "--n", "1"), "split a crystal"), (("--n", "6"), "no sample 5")):
        ran = CliRunner().invoke(app, ["sim", "cxdp", "--out", str(small), *options, *wrong])
        assert ran.exit_code == 3
        assert why in " ".join(ran.output.split())


def test_the_forecast_counts_what_was_made() -> None:
    assert time_left(300, 0, 5.0) == ""
    assert time_left(300, 100, 60.0) == "0:03:00 left"
    assert time_left(0, 100, 61.0) == "done in 0:01:01"


def test_a_scheduler_without_dask_is_refused(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["sim", "cxdp", "--out", str(tmp_path), "--scheduler", "tcp://127.0.0.1:1"])
    assert ran.exit_code == 3
    assert "--executor dask" in ran.output


def writer_of(folder: Path, among: set[int]) -> int:
    """Wait until one of the processes is in the middle of a file."""
    for _ in range(3000):
        for path in folder.glob("*.partial"):
            pid = int(path.name.split(".")[-2].split("-")[0])
            if pid in among:
                return pid
        time.sleep(0.02)
    raise AssertionError("no worker began a shard")


def process_ids(client: Any) -> dict[str, int]:  # Dask annotates what an asynchronous client gives
    return client.run(os.getpid)


@pytest.fixture
def killer() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_of_a_cluster_loses_nothing(serial: Path, tmp_path: Path, killer: ThreadPoolExecutor) -> None:
    from distributed import Client, LocalCluster

    shards: list[ShardDone] = []
    local: Any = LocalCluster
    with local(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        with Client(cluster, set_as_default=False) as client:
            workers = set(process_ids(client).values())
        assert len(workers) == 3
        assert os.getpid() not in workers

        def kill_one() -> int:
            pid = writer_of(tmp_path, workers)
            os.kill(pid, signal.SIGKILL)
            return pid

        with dask_executor(cluster.scheduler_address, workers=1) as executor:
            killed = killer.submit(kill_one)
            make_dataset(tmp_path, SPEC, SAMPLES, shard_size=SHARD, executor=executor, on_shard=shards.append)
        assert killed.result() in workers
        with Client(cluster, set_as_default=False) as client:
            assert killed.result() not in process_ids(client).values()
    assert len(shards) == SAMPLES // SHARD
    assert contents(tmp_path) == contents(serial)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_process_of_the_pool_loses_nothing(
    serial: Path, tmp_path: Path, killer: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[ProcessPoolExecutor] = []

    def watched(workers: int) -> ProcessPoolExecutor:
        pools.append(one_core_each(workers))
        return pools[-1]

    monkeypatch.setattr(executors, "one_core_each", watched)

    def kill_one() -> None:
        while not pools:
            time.sleep(0.02)
        wait([pools[0].submit(os.getpid)])
        os.kill(writer_of(tmp_path, set(pools[0]._processes)), signal.SIGKILL)

    killed = killer.submit(kill_one)
    make_dataset(tmp_path, SPEC, SAMPLES, shard_size=SHARD, workers=2)
    killed.result()
    assert len(pools) == 2
    assert contents(tmp_path) == contents(serial)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_of_its_own_makes_the_same(serial: Path, tmp_path: Path) -> None:
    with dask_executor(None, workers=2) as executor:
        made = make_dataset(tmp_path, SPEC, 4, shard_size=SHARD, executor=executor)
    assert len(made) == 2
    assert [path.read_bytes() for path in made] == [(serial / path.name).read_bytes() for path in made]

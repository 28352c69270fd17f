"""What would spoil a training or its scores is told before the first step, in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch
from typer.testing import CliRunner

from braggwatch.services.cli import app
from braggwatch.sim.cxdp.datasets import DatasetSpec
from support.class_shards import CLEAN, MEASURED, write_shard


def run(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, first in (("train", 0), ("calibration", 100), ("test", 200)):
        write_shard(tmp_path / name, MEASURED, range(first, first + 9))
    return tmp_path


def train(folder: Path, *more: str, data: str = "train", calibration: str = "calibration", test: str = "test"):
    """Ask for a training that must not begin."""
    work = folder / "work"
    done = run(
        "cxdp", "train", f"--data={folder / data}", f"--calibration={folder / calibration}", f"--test={folder / test}",
        f"--work={work}", f"--registry={folder / 'bundles'}", "--steps=10", "--batch=4", "--threads=1",
        *(more if any(word.startswith("--version") for word in more) else ("--version=1.0.0", *more)),
    )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.exit_code == 3, said
    assert "Traceback" not in said
    assert not work.exists() or not list(work.iterdir())
    return said


def test_a_test_on_what_was_learnt_is_refused_with_the_crystals_that_overlap(folders: Path) -> None:
    said = train(folders, calibration="train", test="train")
    assert "training and test share 9 crystals (0 of seed 1," in said
    assert "--allow-overlap" in said
    assert "training and calibration share 9 crystals" in said


def test_the_same_numbers_are_the_same_crystals_with_and_without_noise(folders: Path) -> None:
    write_shard(folders / "clean", CLEAN, range(4, 13))
    assert "training and test share 5 crystals (4 of seed 1, 5 of seed 1" in train(folders, test="clean")


def test_the_same_numbers_of_another_population_are_the_same_draws(folders: Path) -> None:
    brighter = DatasetSpec(peak_counts=(1e4, 1e6))
    write_shard(folders / "brighter", brighter, range(3))
    write_shard(folders / "brighter", brighter, range(300, 306))
    assert "share 3 crystals" in train(folders, test="brighter")


def test_a_class_that_is_missing_is_named_before_anything_is_learnt(folders: Path) -> None:
    write_shard(folders / "two", MEASURED, range(300, 308), ("perfect", "screw"))
    assert "no pattern of class 'edge' to learn from" in train(folders, data="two")
    assert "no pattern of class 'edge' to calibrate with" in train(folders, calibration="two")


def test_lines_that_are_all_too_far_out_leave_a_class_missing(folders: Path) -> None:
    said = train(folders, "--largest-line-offset=0.05")
    assert "'screw' and none of 'edge' to learn from" in said


@pytest.mark.parametrize("version", ["1 0", "1.0.0/x", "V1", ""])
def test_a_version_that_no_bundle_may_have_is_refused_at_once(folders: Path, version: str) -> None:
    assert "the version of a bundle" in train(folders, f"--version={version}")


def test_a_version_that_is_taken_and_a_name_that_is_none_are_refused_at_once(folders: Path) -> None:
    (folders / "bundles" / "cxdp-fcc" / "1.0.0").mkdir(parents=True)
    assert "a bundle never changes, give a new version" in train(folders)
    assert "the name of a bundle" in train(folders, "--name=../mine")


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:9"])
def test_a_device_that_is_not_here_is_refused_at_once(folders: Path, device: str) -> None:
    if torch.cuda.is_available() and device != "gpu":
        pytest.skip("this machine has a GPU")
    for path in (folders / "train").glob("*.h5"):
        path.write_bytes(b"")  # not even looked at
    assert f"device '{device}'" in train(folders, f"--device={device}")


def damage(path: Path, pattern: int, content: bytes) -> None:
    with h5py.File(path) as file:
        place = file["log_intensity"].id.get_chunk_info_by_coord((pattern, 0, 0, 0)).byte_offset
    whole = bytearray(path.read_bytes())
    whole[place + 100_000 : place + 100_000 + len(content)] = content
    path.write_bytes(bytes(whole))


@pytest.mark.parametrize("content", [b"\x00\x7e" * 2000, b"\x00\x40" * 2000], ids=["no numbers", "other numbers"])
@pytest.mark.parametrize("folder", ["train", "calibration", "test"])
def test_a_damaged_pattern_is_named_with_its_shard(folders: Path, folder: str, content: bytes) -> None:
    (path,) = (folders / folder).glob("*.h5")
    damage(path, 7, content)
    said = train(folders)
    assert f"{path.name} is damaged at pattern 7" in said
    assert "learning rate" not in said


def test_values_that_are_no_numbers_are_found_though_their_checksum_fits(folders: Path) -> None:
    (path,) = (folders / "train").glob("*.h5")
    with h5py.File(path, "r+") as file:
        stored = file["log_intensity"]
        assert isinstance(stored, h5py.Dataset)
        stored[3, 1, 2, 3] = float("nan")
    assert f"{path.name} is damaged at pattern 3: some values are no numbers" in train(folders)


def test_a_shard_cut_short_is_named(folders: Path) -> None:
    (path,) = (folders / "test").glob("*.h5")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert path.name in train(folders)

"""A bundle proves itself or is refused with the file's name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from braggwatch.models.bundling.bundle import REQUIRED_FILES, SUMS_FILE, Bundle, BundleError, write_bundle
from braggwatch.models.bundling.manifest import InputSpec, Manifest


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    target = tmp_path / "blobs" / "1.0.0"
    shutil.copytree(bundle_path, target)
    return target


def resign(path: Path) -> None:
    """Make the hashes fit whatever is there: what a careless editor of a bundle would do."""
    lines = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in REQUIRED_FILES]
    (path / SUMS_FILE).write_text("".join(lines))


def test_what_was_written_is_what_is_read(bundle_path: Path, parts, manifest_for: Callable[[str], Manifest]) -> None:
    bundle = Bundle.load(bundle_path)
    assert bundle.manifest == manifest_for("1.0.0")
    assert bundle.model == parts.model
    assert bundle.sha256 == hashlib.sha256(parts.model).hexdigest()
    np.testing.assert_array_equal(bundle.golden.counts, parts.golden.counts)
    np.testing.assert_array_equal(bundle.trust.detector.precision, parts.trust.arrays.detector.precision)
    for read, fitted in zip(bundle.trust.conformal.scores, parts.trust.arrays.conformal.scores, strict=True):
        np.testing.assert_array_equal(read, fitted)


def test_sha256sum_of_any_system_can_check_it(bundle_path: Path) -> None:
    for line in (bundle_path / SUMS_FILE).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle_path / name).read_bytes()).hexdigest() == digest


def test_no_pickle_can_hide_in_it(bundle_path: Path) -> None:
    for name in ("calibration.npz", "golden.npz"):
        with np.load(bundle_path / name, allow_pickle=False) as archive:
            assert all(archive[key].dtype.kind in "fi" for key in archive.files)


@pytest.mark.parametrize("name", [*REQUIRED_FILES, SUMS_FILE])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.load(copy)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_truncated_or_changed_file_is_named(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], b"", bytes([data[0] ^ 1]) + data[1:]):
        (copy / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=rf"{name}.*SHA-256"):
            Bundle.load(copy)


def test_a_missing_folder_and_a_broken_list_of_hashes_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.load(tmp_path / "nowhere")
    (copy / SUMS_FILE).write_text("0" * 64 + "  ../../secret\n")
    with pytest.raises(BundleError, match="not a line of sha256sum"):
        Bundle.load(copy)
    (copy / SUMS_FILE).write_text("")
    with pytest.raises(BundleError, match="doesn't list"):
        Bundle.load(copy)
    (copy / SUMS_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="can't be read"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schema_version", 99, "schema 1"),
        ("classes", ["one"], "two distinct classes"),
        ("name", "../evil", "plain lower-case word"),
        ("temperature", 0.0, "temperature"),
        ("surprise", 1, "surprise"),
        ("alien_classes", ["ghost"], "alien classes"),
        ("alien_classes", ["perfect", "screw", "edge"], "not all"),
        ("input", {"axes": ["x", "y", "z"], "fringe_period_voxels": 3.5}, "'Q'"),
    ],
)
def test_a_manifest_of_another_schema_is_refused_with_the_field(copy: Path, field: str, value, words: str) -> None:
    manifest = json.loads((copy / "model.json").read_text())
    manifest[field] = value
    (copy / "model.json").write_text(json.dumps(manifest))
    resign(copy)
    with pytest.raises(BundleError, match=words):
        Bundle.load(copy)


def test_arrays_that_do_not_fit_the_manifest_are_refused(copy: Path) -> None:
    with np.load(copy / "calibration.npz") as archive:
        arrays: dict[str, Any] = dict(archive)
    for name in list(arrays):
        np.savez(copy / "calibration.npz", **{key: value for key, value in arrays.items() if key != name})
        resign(copy)
        with pytest.raises(BundleError, match=name):
            Bundle.load(copy)
    np.savez(copy / "calibration.npz", **dict(arrays, precision=np.full((3, 3), np.nan)))
    resign(copy)
    with pytest.raises(BundleError, match=r"precision.*finite"):
        Bundle.load(copy)
    np.savez(copy / "calibration.npz", **dict(arrays, precision=np.eye(4)))
    resign(copy)
    with pytest.raises(BundleError, match=r"precision.*shape"):
        Bundle.load(copy)
    (copy / "calibration.npz").write_bytes(b"not an archive")
    resign(copy)
    with pytest.raises(BundleError):
        Bundle.load(copy)


def test_a_threshold_for_what_is_refused_needs_its_array(copy: Path) -> None:
    manifest = json.loads((copy / "model.json").read_text())
    manifest["thresholds"]["foreign"] = 0.0
    (copy / "model.json").write_text(json.dumps(manifest))
    resign(copy)
    with pytest.raises(BundleError, match="foreign_row"):
        Bundle.load(copy)


def test_a_version_is_never_overwritten(tmp_path: Path, write_version: Callable[[Path, str], Path]) -> None:
    path = write_version(tmp_path, "2.0.0")
    before = (path / SUMS_FILE).read_bytes()
    with pytest.raises(FileExistsError, match="new version"):
        write_version(tmp_path, "2.0.0")
    assert (path / SUMS_FILE).read_bytes() == before


def test_parts_that_do_not_fit_leave_nothing_behind(
    tmp_path: Path, parts, manifest_for: Callable[[str], Manifest]
) -> None:
    wrong = replace(parts.golden, features=np.zeros((3, 5), np.float32))
    with pytest.raises(BundleError, match="features"):
        write_bundle(
            tmp_path,
            manifest_for("3.0.0"),
            model=parts.model,
            trust=parts.trust.arrays,
            golden=wrong,
            weights=b"",
            card="",
        )
    assert list((tmp_path / "blobs").rglob("*")) == []


def test_the_manifest_is_frozen_and_names_the_q_axis(manifest_for: Callable[[str], Manifest]) -> None:
    manifest = manifest_for("1.0.0")
    assert manifest.input.axes[0] == "Q"
    with pytest.raises(ValidationError):
        manifest.temperature = 2.0
    with pytest.raises(ValidationError):
        InputSpec(fringe_period_voxels=0.0)

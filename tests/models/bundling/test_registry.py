"""Names lead to the bundle that was meant, or to an error that says what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.bundling.bundle import SUMS_FILE, Bundle, BundleError
from braggwatch.models.bundling.registry import (
    INDEX_FILE,
    Registry,
    RegistryError,
    check_new_bundle,
    default_root,
)
from braggwatch.sim.errors import InputError

Write = Callable[[Path, str], Path]


@pytest.fixture
def registry(tmp_path: Path, write_version: Write) -> Registry:
    write_version(tmp_path, "1.0.0")
    write_version(tmp_path, "1.1.0")
    return Registry(tmp_path)


def test_an_alias_moves_only_by_promotion(registry: Registry) -> None:
    assert registry.list() == ("blobs/1.0.0", "blobs/1.1.0")
    registry.promote("production", "blobs/1.0.0")
    assert registry.resolve("production") == registry.root / "blobs" / "1.0.0"
    registry.promote("production", "blobs/1.1.0")
    assert registry.resolve("production") == registry.root / "blobs" / "1.1.0"
    assert registry.resolve("blobs/1.0.0") == registry.root / "blobs" / "1.0.0"
    assert registry.aliases() == {"production": "blobs/1.1.0"}
    assert [path.name for path in registry.root.iterdir() if path.name.startswith(".")] == []


def test_unknown_and_ambiguous_names_say_what_is_there(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"no bundle goes by 'production'.*blobs/1\.0\.0"):
        registry.resolve("production")
    with pytest.raises(RegistryError, match="several versions"):
        registry.resolve("blobs")
    with pytest.raises(RegistryError, match="no bundle"):
        registry.promote("production", "blobs/9.9.9")
    with pytest.raises(RegistryError, match="alias"):
        registry.promote("a/b", "blobs/1.0.0")


def test_a_bundle_is_located_by_its_folder_or_its_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = registry.root / "blobs" / "1.0.0"
    assert registry.locate(str(folder)) == folder
    assert registry.locate("blobs/1.0.0") == folder
    with pytest.raises(RegistryError, match=r"no bundle goes by 'nobody'.*blobs/1\.0\.0"):
        registry.locate("nobody")
    registry.promote("production", "blobs/1.1.0")
    here = tmp_path / "here"
    (here / "production").mkdir(parents=True)
    (here / "nobody").mkdir()
    monkeypatch.chdir(here)
    assert registry.locate("production") == registry.root / "blobs" / "1.1.0", "a folder of data hides no bundle"
    with pytest.raises(BundleError):
        Bundle.load(registry.locate("nobody"))


def test_an_alias_means_the_registrys_bundle_and_a_folder_is_written_as_one(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry.promote("production", "blobs/1.1.0")
    here = tmp_path / "here"
    shutil.copytree(registry.root / "blobs" / "1.0.0", here / "production")
    monkeypatch.chdir(here)
    assert registry.locate("production") == registry.root / "blobs" / "1.1.0"
    assert "the folder here would be ./production" in caplog.text
    assert registry.locate("./production") == Path("production")
    caplog.clear()
    shutil.copytree(registry.root / "blobs" / "1.0.0", here / "blobs" / "1.0.0")
    assert registry.locate("blobs/1.0.0") == Path("blobs/1.0.0")
    assert "taken from the folder here" in caplog.text


def test_an_alias_whose_bundle_changed_is_not_made_good_by_a_folder_of_its_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("production", "blobs/1.0.0")
    sums = registry.root / "blobs" / "1.0.0" / SUMS_FILE
    sums.write_text(sums.read_text() + "0" * 64 + "  extra.txt\n")
    (tmp_path / "here" / "production").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RegistryError, match="promote it again"):
        registry.locate("production")


@pytest.mark.parametrize(("name", "version"), [("Blobs", "1.0.0"), ("blobs", "1 0"), ("../blobs", "1"), ("", "1")])
def test_a_name_that_no_bundle_may_have_is_told_before_it_is_made(registry: Registry, name: str, version: str) -> None:
    with pytest.raises(InputError, match="plain lower-case word"):
        check_new_bundle(registry.root, name, version)


def test_a_version_that_is_there_is_told_before_another_is_made(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="give a new version"):
        check_new_bundle(registry.root, "blobs", "1.0.0")
    check_new_bundle(registry.root, "blobs", "1.2.0")
    check_new_bundle(tmp_path / "not" / "yet", "blobs", "1.0.0")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written to"):
        check_new_bundle(tmp_path / "file", "blobs", "1.0.0")


def test_a_name_cannot_lead_out_of_the_folder(registry: Registry) -> None:
    for name in ("../blobs/1.0.0", "/etc", "..", "", "blobs/../blobs/1.0.0"):
        with pytest.raises(RegistryError):
            registry.resolve(name)


def test_a_swapped_bundle_is_noticed_by_its_alias(registry: Registry) -> None:
    registry.promote("production", "blobs/1.0.0")
    sums = registry.root / "blobs" / "1.0.0" / SUMS_FILE
    sums.write_text(sums.read_text() + "0" * 64 + "  extra.txt\n")
    with pytest.raises(RegistryError, match="promote it again"):
        registry.resolve("production")


def test_verification_reports_each_bundle_and_never_raises(registry: Registry) -> None:
    golden = registry.root / "blobs" / "1.1.0" / "golden.npz"
    golden.write_bytes(golden.read_bytes()[:-10])
    sound, broken = registry.verify()
    assert sound.ok
    assert sound.runtime == "onnxruntime-cpu"
    assert sound.golden_difference is not None
    assert sound.golden_difference < 1e-3
    assert not broken.ok
    assert "golden.npz" in str(broken.problem)
    with pytest.raises(RegistryError, match=r"golden\.npz"):
        registry.promote("production", "blobs/1.1.0")
    (unknown,) = registry.verify("nothing")
    assert not unknown.ok


def test_a_bundle_that_runs_differently_is_not_promoted(
    tmp_path: Path, parts, manifest_for, write_version: Write
) -> None:
    from dataclasses import replace

    from braggwatch.models.bundling.bundle import write_bundle

    write_bundle(
        tmp_path,
        manifest_for("1.0.0"),
        model=parts.model,
        trust=parts.trust.arrays,
        golden=replace(parts.golden, logits=parts.golden.logits + np.float32(0.1)),
        weights=b"",
        card="",
    )
    with pytest.raises(RegistryError, match="golden logits"):
        Registry(tmp_path).promote("production", "blobs/1.0.0")


def test_a_broken_index_is_named(registry: Registry) -> None:
    index = registry.root / INDEX_FILE
    for text in ("{", json.dumps({"schema_version": 7}), json.dumps({"more": 1})):
        index.write_text(text)
        with pytest.raises(RegistryError, match=INDEX_FILE):
            registry.resolve("production")


def test_an_empty_or_absent_folder_is_an_empty_registry(tmp_path: Path) -> None:
    assert Registry(tmp_path / "absent").list() == ()
    assert Registry(tmp_path).aliases() == {}
    assert default_root().name == "bundles"


def test_looking_up_models_imports_no_torch() -> None:
    code = (
        "import sys, braggwatch.models.cxdp.classifier, braggwatch.models.bundling.registry;"
        "import braggwatch.models.cxdp.report;"
        "import braggwatch.models.bundling.export, braggwatch.models.cxdp.evaluation;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'tensorrt', 'cupy', 'onnx', 'bluesky', 'zmq')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0

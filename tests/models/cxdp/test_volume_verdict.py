"""One call from a volume in memory to the verdict that the service would give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models import Bundle, BundleClassifier, BundleError, Outcome, Registry, RegistryError, classify_volume


@pytest.fixture(scope="module")
def volume() -> NDArray[np.float32]:
    return Bundle.load(Registry().resolve("production")).golden.counts[0]


def test_it_is_the_verdict_of_the_bundle(volume: NDArray[np.float32]) -> None:
    expected = BundleClassifier.load(Registry().resolve("production")).classify(volume)
    assert classify_volume(volume) == expected
    assert classify_volume(volume.astype(np.float64)) == expected


def test_counts_of_any_real_dtype_are_taken(volume: NDArray[np.float32]) -> None:
    whole = np.rint(volume)
    expected = classify_volume(whole)
    assert classify_volume(whole.astype(np.uint32)) == expected
    assert classify_volume(whole.astype(">i8")) == expected


@pytest.mark.parametrize("name", ["id", "folder", "registry"])
def test_a_model_may_be_named_or_pointed_at(name: str, volume: NDArray[np.float32]) -> None:
    folder = Registry().resolve("production")
    model = f"{folder.parent.name}/{folder.name}"
    verdict = {
        "id": lambda: classify_volume(volume, model),
        "folder": lambda: classify_volume(volume, folder),
        "registry": lambda: classify_volume(volume, model, registry=Registry().root),
    }[name]()
    assert verdict.model is not None
    assert verdict.model.id == model


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.ones((64, 64)), "shape"),
        (np.zeros((64, 64, 64)), "empty"),
        (np.full((64, 64, 64), -1), "negative"),
        (np.full((64, 64, 64), 1e300), "not finite"),
        (np.ones((64, 64, 64), dtype=complex), "not real numbers"),
    ],
)
def test_what_is_no_volume_of_counts_is_invalid_with_its_reason(bad: NDArray[np.generic], reason: str) -> None:
    verdict = classify_volume(bad)
    assert verdict.outcome is Outcome.INVALID
    assert reason in str(verdict.reason)


def test_an_unknown_model_is_refused_with_what_there_is(volume: NDArray[np.float32]) -> None:
    with pytest.raises(RegistryError, match="no bundle goes by 'nothing'"):
        classify_volume(volume, "nothing")


def test_a_bundle_of_another_task_is_refused(volume: NDArray[np.float32]) -> None:
    with pytest.raises(BundleError):
        classify_volume(volume, "sadp")


def test_a_bundle_that_was_written_anew_is_opened_anew(
    tmp_path: Path, write_version: Callable[[Path, str], Path], make_blob: Callable[..., NDArray[np.float32]]
) -> None:
    blob = make_blob(0, np.random.default_rng(1))
    folder = tmp_path / "in-use"
    for version in ("1.0.0", "1.0.1"):
        written = write_version(tmp_path / version, version)
        if folder.exists():
            folder.rename(tmp_path / "before")
        written.rename(folder)
        verdict = classify_volume(blob, folder)
        assert verdict.model is not None
        assert verdict.model.version == version

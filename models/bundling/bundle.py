"""A trained model as a folder that proves itself: weights, calibration, golden arrays, hashes.

``NAME/VERSION/`` holds ``model.onnx``, ``model.json``, ``calibration.npz``, ``weights.safetensors``, ``golden.npz``,
``CARD.md`` and ``SHA256SUMS`` (the format of ``sha256sum``). Nothing in it is executed on reading: no pickles.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.bundling.tasks import task_named
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.trust import TrustArrays
from braggwatch.sim.errors import BraggwatchError, InputError

SUMS_FILE = "SHA256SUMS"
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.json"
CALIBRATION_FILE = "calibration.npz"
WEIGHTS_FILE = "weights.safetensors"
GOLDEN_FILE = "golden.npz"
CARD_FILE = "CARD.md"
REQUIRED_FILES = (MODEL_FILE, MANIFEST_FILE, CALIBRATION_FILE, WEIGHTS_FILE, GOLDEN_FILE, CARD_FILE)

_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._-]*)")


class BundleError(BraggwatchError):
    """A bundle is missing, incomplete, changed or of another schema; the message names the file."""


class OtherTaskError(BundleError):
    """A sound bundle of another task than the one asked for."""


@dataclass(frozen=True, slots=True)
class GoldenArrays:
    """A few inputs with the outputs that the bundle was made with.

    Attributes
    ----------
    counts
        (G, ...) float32 of the input's shape.
    logits, probabilities
        (G, K) float32.
    features
        (G, F) float32.
    """

    counts: NDArray[np.float32]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def record(cls, runtime: Runtime, counts: NDArray[np.floating]) -> GoldenArrays:
        """Run (G, ...) counts of the graph's input shape once and keep what comes out."""
        batch = np.ascontiguousarray(counts, dtype=np.float32)
        output = runtime.run(batch)
        return cls(batch, output.logits, output.probabilities, output.features)

    def to_bytes(self) -> bytes:
        """Pack as a compressed npz without pickles."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            counts=self.counts,
            logits=self.logits,
            probabilities=self.probabilities,
            features=self.features,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, manifest: Manifest) -> GoldenArrays:
        """Unpack; raises ValueError where an array is missing or of another shape than the manifest's."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name], dtype=np.float32) for name in archive.files}
        except (BadZipFile, OSError, EOFError) as error:
            raise InputError(f"golden arrays can't be read: {error}") from error
        tails = {
            "counts": manifest.input.shape,
            "logits": (len(manifest.classes),),
            "probabilities": (len(manifest.classes),),
            "features": (manifest.features,),
        }
        samples = len(arrays.get("counts", ()))
        for name, tail in tails.items():
            if name not in arrays:
                raise InputError(f"golden array {name!r} is missing")
            if samples == 0 or arrays[name].shape != (samples, *tail):
                raise InputError(f"golden array {name!r} has shape {arrays[name].shape}, expected (G, *{tail})")
        return cls(arrays["counts"], arrays["logits"], arrays["probabilities"], arrays["features"])


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory, verified against its hashes.

    Attributes
    ----------
    path
        The folder it was read from.
    manifest
        ``model.json``.
    model
        Bytes of ``model.onnx``: what was hashed is what is run.
    sha256
        SHA-256 of ``model``, hexadecimal.
    trust
        Calibration arrays.
    golden
        Inputs and outputs of the self-test.
    """

    path: Path
    manifest: Manifest
    model: bytes
    sha256: str
    trust: TrustArrays
    golden: GoldenArrays

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and verify a bundle.

        Raises
        ------
        BundleError
            If the folder or a file is missing, a file differs from its hash (changed or truncated), the manifest
            doesn't fit the schema, or the arrays don't fit the manifest.
        """
        contents = _read_verified(path)
        try:
            manifest = Manifest.model_validate_json(contents[MANIFEST_FILE])
        except ValidationError as error:
            raise BundleError(f"{path / MANIFEST_FILE}: {_first_problem(error)}") from error
        try:
            trust = TrustArrays.from_bytes(
                contents[CALIBRATION_FILE], classes=len(manifest.classes), features=manifest.features
            )
            if (trust.outlier_head is None) != (manifest.thresholds.foreign is None):
                raise InputError("the threshold 'foreign' and the calibration array 'foreign_row' go together")
            golden = GoldenArrays.from_bytes(contents[GOLDEN_FILE], manifest)
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from error
        model = contents[MODEL_FILE]
        return cls(path, manifest, model, hashlib.sha256(model).hexdigest(), trust, golden)

    def require_task(self, task: str) -> None:
        """Raise :class:`OtherTaskError` unless the bundle is of this task."""
        own = self.manifest
        if own.task != task:
            shape = " x ".join(str(size) for size in own.input.shape)
            wanted = task_named(task)
            purpose = "" if wanted is None else f"no bundle for {wanted.purpose} but "
            raise OtherTaskError(
                f"{own.id} is {purpose}one of task '{own.task}' (input {shape}, {len(own.classes)} classes), here one "
                f"of '{task}' is needed: 'braggwatch models list' names the task of each"
            )


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "whole file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"


def read_sums(path: Path) -> dict[str, str]:
    """Read ``SHA256SUMS`` of a bundle folder: file name to hexadecimal digest; raises :class:`BundleError`."""
    if not path.is_dir():
        raise BundleError(f"{path}: no such bundle folder")
    try:
        text = (path / SUMS_FILE).read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise BundleError(f"{path}: {SUMS_FILE} is missing, so the bundle can't be verified") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path / SUMS_FILE} can't be read: {error}") from error
    sums: dict[str, str] = {}
    for line in text.splitlines():
        match = _SUMS_LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{path / SUMS_FILE}: not a line of sha256sum: {line[:100]!r}")
        sums[match[2]] = match[1]
    return sums


def _read_verified(path: Path) -> dict[str, bytes]:
    sums = read_sums(path)
    unlisted = [name for name in REQUIRED_FILES if name not in sums]
    if unlisted:
        raise BundleError(f"{path / SUMS_FILE} doesn't list {', '.join(unlisted)}")
    contents: dict[str, bytes] = {}
    for name, digest in sums.items():
        try:
            data = (path / name).read_bytes()
        except FileNotFoundError as error:
            raise BundleError(f"{path / name} is missing") from error
        except OSError as error:
            raise BundleError(f"{path / name} can't be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise BundleError(f"{path / name}: content differs from its SHA-256 (changed, or cut short in copying)")
        contents[name] = data
    return contents


def write_bundle(
    root: Path,
    manifest: Manifest,
    *,
    model: bytes,
    trust: TrustArrays,
    golden: GoldenArrays,
    weights: bytes,
    card: str,
) -> Path:
    """Write ``root/NAME/VERSION`` so that a reader sees all of it or nothing, then read it back.

    Parameters
    ----------
    root
        Folder of bundles; made where absent.
    manifest
        Gives name and version.
    model
        Bytes of the ONNX graph with the temperature inside.
    trust, golden
        See :func:`braggwatch.models.uncertainty.trust.fit_trust` and :meth:`GoldenArrays.record`.
    weights
        Bytes of a safetensors file, to retrain from.
    card
        Markdown for people: what it's for, data, scores, limits.

    Returns
    -------
    Path
        The bundle folder.

    Raises
    ------
    FileExistsError
        If this version exists: a bundle never changes, a new one gets a new version.
    BundleError
        If the parts don't fit each other; nothing is left behind.
    """
    target = root / manifest.name / manifest.version
    if target.exists():
        raise FileExistsError(f"{target} exists; a bundle never changes, give a new version")
    target.parent.mkdir(parents=True, exist_ok=True)
    contents = {
        MODEL_FILE: model,
        MANIFEST_FILE: (manifest.model_dump_json(indent=2) + "\n").encode(),
        CALIBRATION_FILE: trust.to_bytes(),
        WEIGHTS_FILE: weights,
        GOLDEN_FILE: golden.to_bytes(),
        CARD_FILE: card.encode(),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items()))
    staging = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=target.parent))
    try:
        for name, data in {**contents, SUMS_FILE: sums.encode()}.items():
            _write_synced(staging / name, data)
        Bundle.load(staging)
        # mkdtemp makes the folder private; a bundle is read by whoever runs the service.
        staging.chmod(0o755)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())

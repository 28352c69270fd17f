"""Who takes part: a bundle as it is deployed, or any ONNX graph with one volume in and three numbers out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from braggwatch.models.cxdp.benchmarking.patterns import SHAPE
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import Outcome
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import BraggwatchError

Scale = Literal["counts", "log1p-max"]
Layout = Literal["auto", "NDHW", "NCDHW", "NDHWC"]
Kind = Literal["auto", "logits", "probabilities"]

_RANKS: dict[Layout, int] = {"NDHW": 4, "NCDHW": 5, "NDHWC": 5}
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_SCORE_NAME = "ood_score"


class EntrantError(BraggwatchError, ValueError):
    """A model can't take part; the message says what its graph should look like."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one pattern.

    Attributes
    ----------
    probabilities
        (3,) float64 of perfect, screw, edge; None where it gave no finite numbers or refused the volume.
    strangeness
        Larger: less like what it learnt from.
    named
        Whether it named a class to its user; None where it has no such rule.
    """

    probabilities: NDArray[np.float64] | None
    strangeness: float
    named: bool | None = None


class Entrant(Protocol):
    """A model that can be scored."""

    @property
    def name(self) -> str:
        """What it goes by."""
        ...

    @property
    def sha256(self) -> str:
        """Of its graph, hexadecimal."""
        ...

    @property
    def strangeness(self) -> str:
        """What the strangeness is, in words."""
        ...

    def answer(self, counts: NDArray[np.float32]) -> Answer:
        """Judge one (64, 64, 64) volume of counts."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How a graph that isn't a bundle's is fed and read.

    Attributes
    ----------
    scale
        'counts': raw. 'log1p-max': log1p of the counts, divided by its maximum.
    layout
        'auto': by the input's rank, NDHW for four axes, NCDHW for five. D runs along Q.
    output
        Which output to read; None: 'probabilities', else 'logits', else the only one with three columns.
    kind
        What that output holds; 'auto' by its name, and it has to be told where the name is neither.
    score_output
        Output with one number a pattern, larger for stranger ones; None: 'ood_score' where there is one, else one minus
        the largest probability.
    """

    scale: Scale = "counts"
    layout: Layout = "auto"
    output: str | None = None
    kind: Kind = "auto"
    score_output: str | None = None


@dataclass
class BundleEntrant:
    """A bundle with its mirror copies, calibration and gates."""

    classifier: BundleClassifier
    strangeness: str = field(default="Mahalanobis distance of the features", init=False)

    def __post_init__(self) -> None:
        if not set(CLASSES) <= set(self.classifier.classes):
            raise EntrantError(f"the bundle's classes are {self.classifier.classes}, the test set's are {CLASSES}")

    @property
    def name(self) -> str:
        """Bundle id."""
        return self.classifier.identity.id

    @property
    def sha256(self) -> str:
        """Of its ``model.onnx``."""
        return self.classifier.identity.sha256

    def answer(self, counts: NDArray[np.float32]) -> Answer:
        """Judge one volume as in service; what no network saw is as strange as can be."""
        verdict = self.classifier.classify(counts)
        named = verdict.outcome is Outcome.CLASSIFIED
        if not verdict.probabilities or verdict.ood_score is None:
            return Answer(None, float("inf"), named)
        known = np.array([verdict.probabilities[name] for name in CLASSES])
        # a bundle may know one more class, of what is to be refused
        return Answer(known / max(known.sum(), 1e-12), verdict.ood_score, named)


class OnnxEntrant:
    """Any ONNX graph, one pattern at a time on the CPU.

    Parameters
    ----------
    model
        Bytes of a self-contained graph, or its file: weights in files of their own are then found beside it.
    name
        What it goes by.
    reading
        How it is fed and read.
    threads
        Of one operator.

    Raises
    ------
    EntrantError
        If the graph can't be loaded, or its input or outputs aren't what `Reading` describes.
    """

    def __init__(self, model: bytes | Path, name: str, reading: Reading | None = None, threads: int = 2) -> None:
        self._reading = Reading() if reading is None else reading
        self._name = name
        self._sha256 = _sha256(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            graph = str(model) if isinstance(model, Path) else model
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise EntrantError(f"{name}: ONNX Runtime can't load it: {_one_line(error)}") from error
        self._input, self._layout, self._dtype = self._find_input()
        self._outputs = {one.name: list(one.shape) for one in self._session.get_outputs()}
        self._output = self._find_output()
        self._kind = self._find_kind()
        self._score = self._find_score()
        self.answer(np.ones(SHAPE, dtype=np.float32))  # a graph of another shape says so before the long part

    @classmethod
    def from_file(cls, path: Path, reading: Reading | None = None, threads: int = 2) -> OnnxEntrant:
        """Read a file; raises OSError where that fails, else as the class does."""
        path.open("rb").close()
        return cls(path, path.name, reading, threads)

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    @property
    def sha256(self) -> str:
        """Of the graph, followed by its weights where these are in files of their own."""
        return self._sha256

    @property
    def strangeness(self) -> str:
        """Where the strangeness comes from."""
        return "one minus the largest probability" if self._score is None else f"output {self._score!r}"

    def answer(self, counts: NDArray[np.float32]) -> Answer:
        """Judge one volume.

        Raises
        ------
        EntrantError
            If the graph fails, or its outputs have another shape than one row of three, or one number.
        """
        wanted = [self._output] if self._score is None else [self._output, self._score]
        try:
            results = self._session.run(wanted, {self._input: self._fed(counts)})
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise EntrantError(
                f"{self._name}: the graph doesn't run on one (64, 64, 64) volume as {self._layout}: {_one_line(error)}"
            ) from error
        row = np.asarray(results[0], dtype=np.float64)
        if row.shape != (1, len(CLASSES)):
            raise EntrantError(
                f"{self._name}: output {self._output!r} has shape {row.shape} for one pattern, it must be "
                f"(1, {len(CLASSES)}): {', '.join(CLASSES)}"
            )
        known = self._probabilities(row[0])
        if self._score is None:
            return Answer(known, float("inf") if known is None else 1.0 - float(known.max()))
        number = np.asarray(results[1], dtype=np.float64)
        if number.size != 1:
            raise EntrantError(
                f"{self._name}: output {self._score!r} has shape {number.shape}, not one number a pattern"
            )
        return Answer(known, float(np.nan_to_num(number.reshape(-1)[0], nan=np.inf)))

    def _probabilities(self, row: NDArray[np.float64]) -> NDArray[np.float64] | None:
        if not np.isfinite(row).all():
            return None
        if self._kind == "logits":
            grown = np.exp(row - row.max())
            return grown / grown.sum()
        if row.min() < -1e-3 or abs(row.sum() - 1.0) > 1e-2:
            raise EntrantError(
                f"{self._name}: output {self._output!r} is said to hold probabilities, but gives "
                f"{row.round(3).tolist()}: read it as logits (--reads logits)"
            )
        return np.clip(row, 0.0, None) / np.clip(row, 0.0, None).sum()

    def _fed(self, counts: NDArray[np.float32]) -> NDArray[np.floating]:
        volume = counts
        if self._reading.scale == "log1p-max":
            volume = np.log1p(counts)
            volume = volume / max(float(volume.max()), 1e-12)
        lead = {"NDHW": volume[None], "NCDHW": volume[None, None], "NDHWC": volume[None, ..., None]}
        return np.ascontiguousarray(lead[self._layout], dtype=self._dtype)

    def _find_input(self) -> tuple[str, Layout, type[np.floating]]:
        inputs = [(one.name, one.type, list(one.shape)) for one in self._session.get_inputs()]
        if len(inputs) != 1:
            raise EntrantError(f"{self._name}: one input is needed, the graph has {[name for name, _, _ in inputs]}")
        name, kind, shape = inputs[0]
        if kind not in _FLOATS:
            raise EntrantError(f"{self._name}: input {name!r} takes {kind}; real numbers (float32) are fed")
        layout = self._reading.layout
        if layout == "auto":
            layout = "NDHW" if len(shape) == 4 else "NCDHW"
        expected = {"NDHW": (1, *SHAPE), "NCDHW": (1, 1, *SHAPE), "NDHWC": (1, *SHAPE, 1)}[layout]
        if len(shape) != _RANKS[layout] or any(
            isinstance(size, int) and size != wanted for size, wanted in zip(shape, expected, strict=True)
        ):
            raise EntrantError(
                f"{self._name}: input {name!r} has shape {shape}, as {layout} it must take "
                f"{list(expected)} (the batch may be free); layouts are NDHW, NCDHW and NDHWC, D along Q"
            )
        return name, layout, _FLOATS[kind]

    def _find_output(self) -> str:
        there = sorted(self._outputs)
        if self._reading.output is not None:
            if self._reading.output not in self._outputs:
                raise EntrantError(f"{self._name}: no output {self._reading.output!r}; there are {there}")
            return self._reading.output
        named = [name for name in ("probabilities", "logits") if name in self._outputs]
        fitting = [name for name, shape in self._outputs.items() if len(shape) == 2 and shape[1] == len(CLASSES)]
        if named or len(fitting) == 1:
            return (named or fitting)[0]
        raise EntrantError(
            f"{self._name}: which output holds {', '.join(CLASSES)}? There are "
            f"{', '.join(f'{name} {shape}' for name, shape in self._outputs.items())}: give --output"
        )

    def _find_kind(self) -> Literal["logits", "probabilities"]:
        if self._reading.kind != "auto":
            return self._reading.kind
        for kind in ("logits", "probabilities"):
            if self._output == kind:
                return kind
        raise EntrantError(f"{self._name}: does output {self._output!r} hold logits or probabilities? Give --reads")

    def _find_score(self) -> str | None:
        if self._reading.score_output is None:
            return _SCORE_NAME if _SCORE_NAME in self._outputs else None
        if self._reading.score_output not in self._outputs:
            raise EntrantError(
                f"{self._name}: no output {self._reading.score_output!r}; there are {sorted(self._outputs)}"
            )
        return self._reading.score_output


# as ONNX writes where a tensor lies: key (field 1) "location", value (field 2) of so many bytes
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])")


def _sha256(model: bytes | Path) -> str:
    """Return the SHA-256 of a graph and, in the order of their names, the files that its weights lie in."""
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    graph = model.read_bytes()
    digest = hashlib.sha256(graph)
    names: set[bytes] = set()
    for found in _LOCATION.finditer(graph):
        length = found[1]
        size = length[0] if len(length) == 1 else (length[0] & 0x7F) | length[1] << 7
        names.add(graph[found.end() : found.end() + size])
    for name in sorted(names):
        beside = model.parent / name.decode("utf-8", "replace")
        if beside.is_file():
            with beside.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

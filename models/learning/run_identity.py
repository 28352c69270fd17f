"""What decides the result of a training run: recorded in its checkpoint, so that no other run takes it up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from braggwatch.models.learning.presentation import Presentation
from braggwatch.models.learning.sample_stream import Source, TellsClean

_DIGITS = 16
_AT_ONCE = 256
FIRST_WEIGHTS = "the first weights"


@runtime_checkable
class TellsContent(Protocol):
    """A source that knows a digest of its samples, for one that is slow to read through."""

    def fingerprint(self) -> str:
        """Return a digest that changes with any sample, label or their order."""
        ...


def run_identity(
    model: nn.Module,
    source: Source,
    validation: Source,
    presentation: Presentation,
    settings: Mapping[str, str],
) -> dict[str, str]:
    """Return what decides a run's result besides its configuration, in words by name.

    Parameters
    ----------
    model
        Before its first step.
    settings
        What the caller wants named where it differs, e.g. ``{"--from": "cxdp-fcc/1.4.0"}``.
    """
    return {
        **settings,
        "the training data": _in_words(source),
        "the validation data": _in_words(validation),
        "what is shown of a sample": _shown(presentation),
        FIRST_WEIGHTS: weights_digest(model),
    }


def differences(theirs: Mapping[str, str], mine: Mapping[str, str]) -> tuple[str, ...]:
    """Name what differs between two runs, each with both values."""
    names = [*mine, *(name for name in theirs if name not in mine)]
    changed = [name for name in names if theirs.get(name) != mine.get(name)]
    if changed[:-1] and changed[-1] == FIRST_WEIGHTS and set(changed) & set(_SETTLES_WEIGHTS):
        changed.pop()  # they follow from what was named already
    return tuple(f"{name}: {theirs.get(name, 'not recorded')}, now {mine.get(name, 'not given')}" for name in changed)


_SETTLES_WEIGHTS = ("--from", "--start", "--network", "--pretrained", "--width", "--blocks")


def fingerprint(source: Source) -> str:
    """Return a digest of all samples and labels of a source, 64 hexadecimal digits."""
    if isinstance(source, TellsContent):
        return source.fingerprint()
    digest = hashlib.sha256()
    for start in range(0, len(source), _AT_ONCE):
        indices = np.arange(start, min(start + _AT_ONCE, len(source)))
        samples, labels = source.batch(indices)
        digest.update(f"{samples.dtype}{samples.shape}".encode())
        digest.update(samples.tobytes())
        digest.update(labels.tobytes())
        if isinstance(source, TellsClean):
            digest.update(source.clean(indices).tobytes())
    return digest.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """Return sixteen hexadecimal digits that change with any weight, its name or its type."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def _in_words(source: Source) -> str:
    return f"{len(source)} samples, {fingerprint(source)[:_DIGITS]}"


def _shown(presentation: Presentation) -> str:
    knobs = ", ".join(f"{name.lstrip('_')}={value!r}" for name, value in sorted(vars(presentation).items()))
    return f"{type(presentation).__name__}({knobs})"

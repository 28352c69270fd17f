"""The confidence to ask for, so that of the classes that are named a stated share is right.

Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017 (selection with guaranteed
risk): the share of wrong names above a threshold is bounded from its count on held-out samples, by the binomial law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from braggwatch.sim.errors import InputError


def confidence_for(confidence: ArrayLike, right: ArrayLike, share: float, certainty: float = 0.9) -> float | None:
    """Return the smallest confidence above which at least ``share`` of the names are right; None where none shows it.

    Parameters
    ----------
    confidence
        (N,) of held-out samples that would be named, 0 to 1.
    right
        (N,) bool, whether that name is the true one.
    share
        Wanted, above 0 and below 1.
    certainty
        With which the samples above a threshold show it (Clopper and Pearson's bound), 0 to 1.

    Raises
    ------
    InputError
        If the shares are none, or shapes disagree.
    """
    if not (0.0 < share < 1.0 and 0.0 < certainty < 1.0):
        raise InputError(f"shares lie between 0 and 1, got {share} and {certainty}")
    sure, good = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if sure.ndim != 1 or sure.shape != good.shape:
        raise InputError(f"need (N,) confidences and marks, got {sure.shape} and {good.shape}")
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], np.cumsum(~good[order])
    named = np.arange(1, len(sure) + 1)
    most_wrong = np.where(wrong < named, beta.ppf(certainty, wrong + 1, np.maximum(named - wrong, 1)), 1.0)
    # equal ones are named together: no threshold divides them
    last = np.append(sure[1:] != sure[:-1], True) if len(sure) else np.zeros(0, dtype=bool)
    enough = np.flatnonzero(last & (most_wrong <= 1.0 - share))
    return float(sure[enough[-1]]) if len(enough) else None


def confidence_for_each_class(
    confidence: ArrayLike, named: ArrayLike, labels: ArrayLike, classes: tuple[str, ...], share: float
) -> float:
    """Return the smallest confidence above which the names are right in this share, in every class by itself.

    Parameters
    ----------
    confidence, named, labels
        (N,) of held-out samples that would be named: confidence, index of the name, index of the true class.
    classes
        Their names, for the error.
    share
        As `confidence_for`.

    Raises
    ------
    InputError
        If the samples of a class show it at no threshold: too few, or the network errs too often.
    """
    sure, names, truth = np.asarray(confidence), np.asarray(named), np.asarray(labels)
    needed: list[float] = []
    for number, name in enumerate(classes):
        those = names == number
        found = confidence_for(sure[those], truth[those] == number, share)
        if found is None:
            raise InputError(
                f"{int(those.sum())} calibration patterns that would be named {name!r} don't show that {share:.1%} of "
                "such names are right, however sure they are: calibrate with more crystals, or ask for less"
            )
        needed.append(found)
    return max(needed)

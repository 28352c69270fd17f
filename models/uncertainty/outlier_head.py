"""Does this pattern look like what the network learnt to refuse? Its own output for that, read from the features.

Outlier exposure (Hendrycks, Mazeika and Dietterich, ICLR 2019) gives a network one more class while it trains. It is
left out of the graph, whose outputs are the classes that may be named; as the last layer is linear, its row is all that
is needed to ask for it afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


@dataclass(frozen=True, slots=True)
class OutlierHead:
    """The row of the last layer that stands for what is to be refused.

    Attributes
    ----------
    weight
        (F,) float64.
    bias
        Of that output.
    """

    weight: NDArray[np.float64]
    bias: float

    def score(self, logits: NDArray[np.floating], features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log odds of "to be refused" against all named classes together, mean over the symmetry copies.

        Parameters
        ----------
        logits
            (..., A, K) before the temperature.
        features
            (..., A, F).

        Returns
        -------
        NDArray
            (...) float64, nats; larger is stranger.
        """
        outlier = np.asarray(features, dtype=np.float64) @ self.weight + self.bias
        named = np.asarray(logsumexp(np.asarray(logits, dtype=np.float64), axis=-1), dtype=np.float64)
        return np.asarray((outlier - named).mean(axis=-1))

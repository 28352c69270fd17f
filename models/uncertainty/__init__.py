"""Calibration, conformal sets and out-of-distribution scores: what turns logits into probabilities to rely on.

Bundles and each system's classifier import it.
"""

"""The training loop that all systems share, its settings, state and samples.

Training code imports it; the live service doesn't.
"""

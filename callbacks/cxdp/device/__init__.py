"""The preprocessing on a CUDA device, in Warp; loaded only when requested.

Composition imports `selection`, which opens the rest.
"""

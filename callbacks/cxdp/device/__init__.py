"""The preprocessing on a CUDA device, in Warp; nothing here is loaded unless it is asked for.

Composition imports `selection`, which opens the rest.
"""

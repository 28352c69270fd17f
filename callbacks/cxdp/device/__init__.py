"""The preprocessing on a CUDA device, in Warp; nothing here is imported unless it is asked for."""

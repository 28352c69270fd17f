"""NVIDIA Warp behind types: its arrays and its start.

The relaxation engine and the device preprocessing import it.
"""

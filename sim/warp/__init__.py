"""Typed access to NVIDIA Warp: its arrays and its initialisation.

Used by the relaxation engine and the device preprocessing.
"""

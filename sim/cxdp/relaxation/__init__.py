"""Atomistically relaxed crystals: configurations and libraries of them.

Used by data set making.
"""

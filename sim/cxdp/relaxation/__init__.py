"""Relaxed crystals of atoms: configurations and libraries of them.

Data making imports it.
"""

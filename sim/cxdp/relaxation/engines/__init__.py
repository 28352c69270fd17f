"""Relaxation engines: the project's own in Warp, and LAMMPS.

Used by configurations.
"""

"""Electron diffraction patterns as a network sees them: plane lattices, classes, groups, next zone.

Callbacks and services import it; CXDP and APT don't.
"""

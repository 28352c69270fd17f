"""Electron diffraction patterns as a network sees them: plane lattices, classes, groups, next zone."""

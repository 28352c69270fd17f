"""Electron diffraction patterns: the live stream, sources of pictures, training, reports.

The command line and composition import it; CXDP and APT don't.
"""

"""Electron diffraction: from a picture to spots about their centre, and from documents to a verdict on each pattern.

Services import it; CXDP and APT don't.
"""

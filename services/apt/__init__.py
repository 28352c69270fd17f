"""Atom probe reconstructions: files, scanning, training.

The command line imports it; CXDP and SADP don't.
"""

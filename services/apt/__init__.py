"""Atom probe reconstructions: files, scanning, training.

Used by the command line; CXDP and SADP don't import it.
"""

"""Recorded runs: one file format, recording from the wire, cutting, and replay through the same socket.

Importers, offline judging and the command line import it.
"""

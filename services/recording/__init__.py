"""Recorded runs: file format, recording from the wire, cutting to a frame range, and replay through the same socket.

Used by importers, offline classification and the command line.
"""

"""Importers: each converts one beamline's own files into a Bluesky recording, so that replay reads one format only.

Used by the command line.
"""

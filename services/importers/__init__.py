"""Importers: each turns one beamline's own files into a Bluesky recording, so that replay has one format.

The command line imports it.
"""

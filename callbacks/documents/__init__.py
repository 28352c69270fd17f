"""Handling of Bluesky documents for any measurement: checks, unpacking pages, reading frames, sorting runs.

The callbacks of each modality import it; the service's receiver may.
"""

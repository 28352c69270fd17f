"""Rocking curves of coherent diffraction: from the documents of a run to its record.

The service's live side and offline commands may import it; the other kinds of measurement may not.
"""

"""Final records on disk: the SQLite result store, its schema, and packed arrays.

The live service, feedback and the page import it.
"""

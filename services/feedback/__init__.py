"""Tells others of results: one sink a file, each on its own thread, none able to hold up another.

Composition imports it; plans and scripts import the HTTP client.
"""

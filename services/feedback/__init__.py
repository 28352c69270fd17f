"""Delivers results to other systems: one sink per file, each on its own thread, so that none delays another.

Composition imports it; plans and scripts import the HTTP client.
"""

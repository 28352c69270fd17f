"""Prometheus metrics of one process, and what a GPU's driver says of it.

Serving and the page import it.
"""

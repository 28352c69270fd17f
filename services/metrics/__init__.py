"""Prometheus metrics of one process and of the GPUs.

Serving and the page import it.
"""

"""Processes: receiver, screening, store, feedback, page, metrics, recording, replay, CLI.

The top storey: it may import all others, and nothing below imports it.
"""

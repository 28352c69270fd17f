"""Processes: receiver, screening, store, feedback, page, metrics, recording, replay, CLI."""

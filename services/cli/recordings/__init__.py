"""Commands on recorded runs: record, replay, inspect, import.

Only the command line's root imports it.
"""

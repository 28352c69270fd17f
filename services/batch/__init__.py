"""Offline work in many processes: executors, and arrays that survive an interruption.

Each system's data making and scanning import it; the live service doesn't.
"""

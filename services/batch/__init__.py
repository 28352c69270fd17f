"""Offline work in many processes: executors, and arrays that survive an interruption.

Used by data set making and scanning; the live service doesn't import it.
"""

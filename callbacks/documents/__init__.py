"""Bluesky documents whatever is judged: checks, pages taken apart, frames of all routes, runs told apart.

The callbacks of each system import it; the service's receiver may.
"""

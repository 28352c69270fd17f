"""Rocking curves in the live service: storing, routes, provisional verdicts, and explanations on demand.

Composition, serving and the page import it; it imports no training.
"""

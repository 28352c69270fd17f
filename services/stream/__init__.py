"""Receives documents: decoding, queueing, and detecting loss. Independent of models and verdicts.

The live service, recording and replay import it.
"""

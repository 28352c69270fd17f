"""Documents off the wire: receiving, decoding, queueing, and noticing what was lost. Knows no models and no verdicts.

The live service, recording and replay import it.
"""

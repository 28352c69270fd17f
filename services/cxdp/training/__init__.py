"""From simulated crystals to a tested CXDP bundle: shards, training, cards.

Used by the command line and the studies; the live service doesn't import it.
"""

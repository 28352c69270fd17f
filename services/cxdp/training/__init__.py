"""From simulated crystals to a tested CXDP bundle: shards, training, cards.

The command line and studies import it; the live service doesn't.
"""

"""From a rocking curve to what the network sees, on a processor.

Live screening, training and the offline commands import it, so that all of them see the same; it knows no documents.
"""

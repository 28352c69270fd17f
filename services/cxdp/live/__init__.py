"""What the live service needs for rocking curves: provisional verdicts and explanations on demand.

Composition, serving and the page import it; it imports no training.
"""

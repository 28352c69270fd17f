"""What the networks of order learn from, and how they are trained and calibrated.

Only training commands import it.
"""

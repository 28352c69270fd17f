"""From simulated volumes to a tested order bundle.

Used by the command line and the scripts in docs.
"""

"""From simulated volumes to a tested order bundle.

The command line and the scripts in docs import it.
"""

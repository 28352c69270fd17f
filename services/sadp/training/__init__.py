"""From simulated diffraction patterns to a tested SADP bundle.

The command line and the scripts in docs import it; the live service doesn't.
"""

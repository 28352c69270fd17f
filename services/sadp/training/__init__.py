"""From simulated diffraction patterns to a tested SADP bundle.

Used by the command line and the scripts in docs; the live service doesn't import it.
"""

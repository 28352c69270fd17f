"""Commands of the live service: screen, demo, doctor.

Only the command line's root imports it.
"""

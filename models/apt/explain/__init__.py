"""Which part of a spatial distribution map a call of order rests on.

Only the explaining command imports it.
"""

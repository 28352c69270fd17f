"""Whether a scan contradicts its geometry, and which change of the geometry would mend it.

Nothing is imported with it.
"""

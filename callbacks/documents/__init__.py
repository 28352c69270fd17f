"""Documents before anyone reads what they measure: are they whole, what do they refer to, which run are they of.

Every system's callbacks and the service's receiving side may import it; it imports no models.
"""

"""From a rocking curve to the model input: correct, gather into an orthonormal cube, scale, centre, judge quality.

The CXDP callback, the device path and data making import it.
"""

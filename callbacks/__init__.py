"""Documents to frames to reciprocal space to model input to verdict. No sockets, no threads.

`services` import it, and it imports `models` and `sim`.
"""

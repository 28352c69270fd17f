"""Documents to frames to reciprocal space to model input to verdict. No sockets, no threads."""

"""What a crystal is labelled, said here alone: what reads a trained model asks its bundle for the classes.

Add a label here for patterns to be made and learnt with it; a bundle trained so names it by itself.
"""

from __future__ import annotations

from typing import Literal

Label = Literal["perfect", "screw", "edge", "mixed"]
"""Of a crystal with one line at most; all others have the words of `braggwatch.sim.cxdp.crystal.defects`."""

CLASSES: tuple[Label, ...] = ("perfect", "screw", "edge")
"""Those that networks are trained to tell apart, in the order of their outputs; the others count as none of them."""

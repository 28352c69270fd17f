"""Files of atom probe tomography: reconstructions (.pos, .epos, .apt) and ranges (.rrng, .rng).

Used by scanning and the command line.
"""

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.labelling import RangedShare, label_checked, read_labelled
from braggwatch.services.apt.files.ranges import read_ranges
from braggwatch.services.apt.files.reconstruction import read_ions

__all__ = ["AptFileError", "RangedShare", "label_checked", "read_ions", "read_labelled", "read_ranges"]

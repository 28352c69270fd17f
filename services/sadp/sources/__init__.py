"""Sources of diffraction patterns: files, a watched folder, a Merlin detector, as Bluesky documents.

Used by the command line.
"""

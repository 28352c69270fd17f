"""Where diffraction pictures come from: files, a watched folder, a Merlin detector, as Bluesky documents.

The command line imports it.
"""

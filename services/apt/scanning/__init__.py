"""From a reconstruction to precipitates: maps, scores, outputs, report.

Used by the command line and the scripts in docs.
"""

"""From a reconstruction to precipitates: maps, scores, outputs, report.

The command line and the scripts in docs import it.
"""

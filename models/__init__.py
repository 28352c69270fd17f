"""Networks, training, bundles, runtimes, calibration and verdicts. Knows no documents.

`callbacks` and `services` import it, and it imports `sim`.
"""

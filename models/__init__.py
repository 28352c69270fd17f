"""Networks, training, bundles, runtimes, calibration and verdicts. Knows no documents."""

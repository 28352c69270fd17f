"""Summarise a scan in a few numbers, for scripts."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from braggwatch.services.apt.scanning.scan import OrderScan


def summary(scan: OrderScan) -> dict[str, object]:
    """Return the summary of a scan as JSON values."""
    resolved = scan.planes.resolved
    return {
        "schema": 1,
        "bundle": scan.bundle,
        "host": scan.host,
        "solute": scan.solute,
        "ions": len(scan.ions),
        "ions_by_species": scan.ranged.by_name,
        "ranged": scan.ranged.ranged,
        "planes": {
            "resolved_share": scan.planes.share,
            "spacing_nm": scan.planes.median_spacing_nm,
            "tilt_x_deg": float(np.median(scan.planes.tilt_x_deg[resolved])),
            "tilt_y_deg": float(np.median(scan.planes.tilt_y_deg[resolved])),
            "median_signal": float(np.median(scan.planes.signal[resolved])),
            "residual_tilt_deg": scan.level.residual_deg,
        },
        "voxels": {"scored": int(scan.known.sum()), "edge_nm": scan.grid.voxel_nm, "shape": list(scan.grid.shape)},
        "threshold": asdict(scan.cut),
        "precipitates": asdict(scan.sizes),
        "far_from_training_share": scan.ood_share,
        "median_spread": float(np.nanmedian(scan.scores.spread)),
        "isoconcentration": [{"name": b.name, "part": b.part, **asdict(b.sizes)} for b in scan.baselines],
        "random_label_control": None
        if scan.control is None
        else {
            "voxels": scan.control.voxels,
            "above_threshold": scan.control.above,
            "false_precipitates": scan.control.precipitates,
        },
        "detection_limit": None if scan.limit is None else asdict(scan.limit),
    }

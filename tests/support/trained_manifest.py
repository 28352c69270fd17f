"""A manifest that says what a bundle was trained for, without a bundle."""

from __future__ import annotations

from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, Thresholds, ValidDomain


def manifest_for(**domain: object) -> Manifest:
    """Return the manifest of ``cxdp-test/1.0.0`` with this valid domain."""
    return Manifest(
        name="cxdp-test",
        version="1.0.0",
        classes=("perfect", "screw", "edge"),
        input=InputSpec(fringe_period_voxels=3.5),
        features=3,
        temperature=1.0,
        thresholds=Thresholds(confidence=0.5, ood=10.0, significance=0.05),
        valid_domain=ValidDomain.model_validate(domain),
        provenance=Provenance(code_version="test"),
    )


FCC_METALS = {"elements": ("Ag", "Al", "Au", "Pt"), "reflections": ("{111}", "{200}", "{220}", "{311}")}
"""What the bundles state that were made before the field ``lattices``."""

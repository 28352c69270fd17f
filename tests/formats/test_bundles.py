"""Bundles: what a manifest may say, and each shipped bundle as the registry sees it."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np

from braggwatch.models.apt.order_rule import OrderRule
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.bundling.bundle import Bundle, read_sums
from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.bundling.registry import Registry, RegistryIndex
from braggwatch.models.sadp.groups import GroupTable
from support.golden import Golden, losses
from support.schemas import fields

REGISTRY = Registry()
BUNDLES = REGISTRY.list()


def test_a_manifest_has_the_same_fields(golden: Golden) -> None:
    # What only one task says is JSON to the manifest and a model of that task's own: their schemas are put in place.
    schema = Manifest.model_json_schema()
    own = {"groups": GroupTable, "order_rule": OrderRule}
    for place, model in own.items():
        schema["properties"][place]["anyOf"][0] = fields(model.model_json_schema())
    schema["$defs"]["InputSpec"]["properties"]["sdm"]["anyOf"][0] = fields(SdmInput.model_json_schema())
    golden.same_json("bundle/manifest-fields.json", fields(schema))
    golden.same_json("bundle/index-fields.json", fields(RegistryIndex.model_json_schema()))


def test_the_shipped_bundles_are_the_same_files(golden: Golden) -> None:
    seen = {
        bundle: {
            "sums": hashlib.sha256((REGISTRY.root / bundle / "SHA256SUMS").read_bytes()).hexdigest(),
            "files": read_sums(REGISTRY.root / bundle),
        }
        for bundle in BUNDLES
    }
    golden.at_least_json("bundle/files.json", seen)


def test_the_aliases_stand_for_the_same_tasks(golden: Golden) -> None:
    tasks = {alias: REGISTRY.manifest(bundle).task for alias, bundle in REGISTRY.aliases().items()}
    golden.at_least_json("bundle/aliases.json", tasks)
    written = (REGISTRY.root / "index.json").read_text(encoding="utf-8")
    assert REGISTRY.index.model_dump_json(indent=2) + "\n" == written


def test_the_shipped_manifests_are_read_and_written_back_as_the_same_json(golden: Golden) -> None:
    gained: dict[str, list[str]] = {}
    for bundle in BUNDLES:
        written = (REGISTRY.root / bundle / "model.json").read_bytes()
        manifest = REGISTRY.manifest(bundle)
        back = json.loads(manifest.model_dump_json())
        assert losses(json.loads(written), back) == [], bundle
        # A manifest from before a field existed gains it, with nothing in it; else it is the same to the byte.
        gained[bundle] = losses(back, json.loads(written))
        if not gained[bundle]:
            assert (manifest.model_dump_json(indent=2) + "\n").encode() == written, bundle
    golden.at_least_json("bundle/gained.json", gained)


def test_the_shipped_bundles_are_whole_and_have_the_same_arrays(golden: Golden) -> None:
    then: dict[str, dict[str, dict[str, list[object]]]] = {}
    for bundle in BUNDLES:
        files = ("calibration.npz", "golden.npz")
        then[bundle] = {name: _arrays((REGISTRY.root / bundle / name).read_bytes()) for name in files}
        loaded = Bundle.load(REGISTRY.root / bundle)
        # Written by today's code they have the same names, in the same types.
        assert _arrays(loaded.trust.to_bytes()) == then[bundle]["calibration.npz"], bundle
        assert _arrays(loaded.golden.to_bytes()) == then[bundle]["golden.npz"], bundle
    golden.at_least_json("bundle/arrays.json", then)


def _arrays(data: bytes) -> dict[str, list[object]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: [archive[name].dtype.str, list(archive[name].shape)] for name in archive.files}

"""A dataset of an HDF5 file, sure to be one."""

from __future__ import annotations

import h5py


def dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset by its path; fail where a group or a named type has that name."""
    found = parent[name]
    assert isinstance(found, h5py.Dataset), f"{name} is a {type(found).__name__}"
    return found

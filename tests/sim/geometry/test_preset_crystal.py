"""What a preset says of the crystal must fit together; what it leaves out stays unknown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from braggwatch.sim.geometry import GeometryPreset, load_preset


def preset(**changes: object) -> GeometryPreset:
    return GeometryPreset.model_validate(load_preset("34idc").model_dump() | changes)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("fcc",)),
        ({"material": "W", "lattice_parameter_A": 3.1652}, ("bcc",)),
        ({"material": "FeCo", "lattice": "bcc"}, ("bcc",)),
        ({"material": "ZnO", "lattice_parameter_A": 3.2498, "lattice_parameter_c_A": 5.2066}, ("wurtzite",)),
        ({"material": "ZnO", "lattice_parameter_A": None}, ("wurtzite",)),
        ({"material": None}, ()),
    ],
)
def test_a_preset_knows_its_lattice_where_it_says_enough(changes, names):
    assert preset(**changes).crystal_lattice.names == names


def test_presets_of_before_load_without_the_new_fields():
    old = load_preset("34idc").model_dump(exclude={"lattice", "space_group", "lattice_parameter_c_A"})
    assert GeometryPreset.model_validate(old) == load_preset("34idc")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"material": "ZnO"}, "wurtzite is hexagonal: state both lattice_parameter_A"),
        ({"lattice_parameter_c_A": 4.0}, "fcc is cubic: it has no lattice_parameter_c_A"),
        (
            {"material": None, "lattice_parameter_c_A": 4.0},
            "belongs to a hexagonal lattice: state lattice in",
        ),
        ({"lattice": "fcc", "space_group": 229}, "lattice 'fcc' contradicts space group 229"),
        ({"lattice": "sc"}, "Input should be 'fcc', 'bcc'"),
        ({"space_group": 2.5}, "space_group"),
    ],
)
def test_what_does_not_fit_together_is_refused_when_the_preset_is_read(changes, why):
    with pytest.raises(ValidationError, match=why):
        preset(**changes)

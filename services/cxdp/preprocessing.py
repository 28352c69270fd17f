"""The preprocessing of rocking curves as the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from braggwatch.callbacks.cxdp.device.selection import DeviceUnavailableError, open_preprocessor
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.services.cxdp.detector_arrays import read_detector_array
from braggwatch.services.settings import PreprocessingChoices
from braggwatch.services.settings_error import SettingsError
from braggwatch.sim.geometry.model import GeometryPreset

if TYPE_CHECKING:
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor


def preprocessing_settings(choices: PreprocessingChoices, preset: GeometryPreset) -> PreprocessingSettings:
    """Read the detector's arrays and add the preset's saturation where none is set.

    Raises
    ------
    SettingsError
        Where an array can't be read.
    """
    values: Mapping[str, object] = choices.model_dump(exclude={"device", "mask_path", "flat_path", "dark_path"})
    arrays = {
        name: None if path is None else read_detector_array(path)
        for name, path in (("mask", choices.mask_path), ("flat", choices.flat_path), ("dark", choices.dark_path))
    }
    saturation = choices.saturation_counts if choices.saturation_counts is not None else preset.saturation_counts
    return PreprocessingSettings.model_validate({**values, **arrays, "saturation_counts": saturation})


def live_preprocessor(
    choices: PreprocessingChoices, preset: GeometryPreset, max_bytes: int, on_takeover: Callable[[str], None]
) -> CpuPreprocessor | DevicePreprocessor:
    """Open the preprocessing on the device that is asked for.

    Parameters
    ----------
    max_bytes
        Bytes of frames that open runs may hold on a device.
    on_takeover
        Is told, in words, where the CPU takes over from a device that failed.

    Raises
    ------
    SettingsError
        Where an array can't be read or the device can't be used.
    """
    try:
        return open_preprocessor(preprocessing_settings(choices, preset), choices.device, max_bytes, on_takeover)
    except DeviceUnavailableError as error:
        raise SettingsError(str(error)) from error

"""The device that a training is asked to run on, checked before anything long begins."""

from __future__ import annotations

import torch

from braggwatch.sim.errors import InputError


def check_device(name: str) -> None:
    """Make sure that a device of this name is here.

    Parameters
    ----------
    name
        'cpu', 'cuda' or 'cuda:1'.

    Raises
    ------
    InputError
        If there is no such device; the text says what is missing and what to do.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"} or (device.type == "cpu" and device.index):
        raise InputError(f"there is no device {name!r}: give 'cpu' or 'cuda'")
    if device.type == "cpu":
        return
    if not torch.cuda.is_available():
        why = (
            f"PyTorch finds no usable GPU (it was built for CUDA {torch.version.cuda})"
            if torch.version.cuda
            else f"this PyTorch, {torch.__version__}, is built without CUDA"
        )
        raise InputError(f"device {name!r}: {why}. Train on 'cpu', or where a GPU and a PyTorch for it are")
    if (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: there are {torch.cuda.device_count()} GPUs, counted from 0")

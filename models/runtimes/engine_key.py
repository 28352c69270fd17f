"""What an engine belongs to: change any of it and the engine is another one."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class EngineKey(BaseModel):
    """Everything that an engine was made from and for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_sha256: str = Field(description="Of the bundle's model.onnx.")
    precision: str = Field(description="Rule by which the graph was brought to fp16.")
    flavour: str = Field(description="'tensorrt' or 'tensorrt-rtx'.")
    version: str = Field(description="Of that TensorRT.")
    device: str = Field(description="Name and compute capability of the device, or those that it was built for.")
    driver: str = Field(description="Version of the driver; empty where it was built without.")
    batches: tuple[int, ...] = Field(description="Batch sizes with a profile of their own.")

    @property
    def digest(self) -> str:
        """SHA-256 of all fields, hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def differences(self, other: EngineKey) -> tuple[str, ...]:
        """Say in words where another key differs, e.g. 'version 10.9 instead of 11.4'."""
        mine, its = self.model_dump(), other.model_dump()
        return tuple(
            f"{name} {_short(its[name])} instead of {_short(mine[name])}" for name in mine if its[name] != mine[name]
        )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 and " " not in text else text or "none"

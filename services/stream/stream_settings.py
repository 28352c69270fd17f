"""Settings of the stream of documents: its address, its bounds, and when to distrust the socket."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from braggwatch.services.stream.codec import PayloadFormat
from braggwatch.services.stream.unpickler import DEFAULT_ENUM_MODULES
from braggwatch.sim.errors import InputError


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurveKeys(_Group):
    """ZeroMQ CURVE keys of a client, as `zmq.auth.create_certificates` writes them."""

    secret_key: Path = Field(description="Our own secret key file (NAME.key_secret).")
    server_public_key: Path = Field(description="The proxy's public key file (NAME.key).")


class StreamSettings(_Group):
    """Where documents come from, and when to distrust the socket."""

    address: str = Field(default="tcp://127.0.0.1:5578", description="The proxy's out-address.")
    prefix: str = Field(default="", description="Only documents with this prefix; empty takes every prefix.")
    payload_format: PayloadFormat = Field(default=PayloadFormat.AUTO, description="How documents are serialised.")
    curve: CurveKeys | None = Field(default=None, description="Keys where the proxy demands CURVE.")
    enum_modules: tuple[str, ...] = Field(
        default=DEFAULT_ENUM_MODULES,
        description="Packages whose pickled enumeration members are taken as bare values, without an import.",
    )
    receive_high_water_mark: int = Field(default=20_000, gt=0, description="Messages ZeroMQ itself may hold for us.")
    max_message_bytes: int = Field(default=64 * 1024 * 1024, gt=1024, description="Larger messages are refused.")
    max_depth: int = Field(default=32, gt=0, description="Deepest nesting of a document.")
    max_nodes: int = Field(default=500_000, gt=0, description="Most values in one document; an array counts as one.")
    heartbeat_interval_s: float = Field(default=0.5, gt=0, description="ZeroMQ's own ping of the proxy.")
    heartbeat_timeout_s: float = Field(
        default=1.0, gt=0, description="Unanswered for so long, the connection is cut; one frame must fit in it."
    )
    reconnect_grace_s: float = Field(
        default=0.25, gt=0, description="A lost connection that ZeroMQ does not retry gets a fresh socket after this."
    )
    silence_s: float = Field(
        default=30.0, gt=0, description="No document for so long while a run is open: a fresh socket, to be sure."
    )
    gap_grace_s: float = Field(default=2.0, ge=0, description="Documents that come out of order by less aren't lost.")

    @field_validator("address")
    @classmethod
    def _with_transport(cls, address: str) -> str:
        return normalise_address(address)

    @field_validator("prefix")
    @classmethod
    def _without_space(cls, prefix: str) -> str:
        if " " in prefix:
            raise ValueError("may not contain a space")
        return prefix


def normalise_address(address: str) -> str:
    """Add ``tcp://`` where an address has no transport, as bluesky's own sockets do."""
    if not address.strip():
        raise InputError("address is empty")
    return address if "://" in address else f"tcp://{address}"

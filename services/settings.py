"""Every knob of the service, each described; read from a TOML file and the environment.

A variable is named like ``BRAGGWATCH_STREAM__ADDRESS``. The environment wins over the file, so that a container can
override one value of a site's file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from braggwatch.callbacks.cxdp.device.selection import PreprocessingDevice
from braggwatch.callbacks.cxdp.run.scan_shares import check_shares
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.models.runtimes.factory import RuntimePreference
from braggwatch.models.uncertainty.prior import checked_prior
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.stream.codec import PayloadFormat
from braggwatch.services.stream.stream_settings import CurveKeys, StreamSettings, normalise_address
from braggwatch.sim.validated import validated

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueueSettings(_Group):
    """What may wait between receiver and worker; beyond it whole runs are set aside."""

    max_documents: int = Field(default=50_000, gt=0, description="Documents waiting.")
    max_bytes: int = Field(default=1_000_000_000, gt=0, description="Their bytes on the wire.")


class PreprocessingChoices(_Group):
    """Detector arrays and thresholds of the preprocessing."""

    device: PreprocessingDevice = Field(
        default="cpu",
        description="Where frames are preprocessed; auto: on CUDA where it can be used, else the CPU. The CUDA path is "
        "tested on processors only so far: compare verdicts before you rely on it.",
    )
    mask_path: Path | None = Field(default=None, description=".npy or .tif, non-zero where a pixel must not be used.")
    flat_path: Path | None = Field(default=None, description=".npy or .tif white field.")
    dark_path: Path | None = Field(default=None, description=".npy or .tif dark frame, counts.")
    hot_ratio: float = Field(default=10.0, gt=1, description="Hot: this many times its third largest neighbour.")
    hot_counts: float = Field(default=20.0, gt=0, description="Fewer raw counts than this are never called hot.")
    saturation_counts: float | None = Field(default=None, gt=0, description="None: the geometry preset's.")
    fringe_period_voxels: float = Field(default=3.5, ge=2, le=16, description="Target period of the fringes, voxels.")
    min_completeness: float = Field(default=0.5, ge=0, le=1, description="Fraction of frames needed for a class.")
    min_frames: int = Field(default=8, ge=2, description="Frames needed for a class.")
    min_coverage: float = Field(default=0.25, ge=0, le=1, description="Measured fraction of the grid that is needed.")
    max_d_deviation: float = Field(
        default=0.02,
        gt=0,
        description="Relative deviation of d from the stated reflection beyond which there is no class.",
    )
    facets: bool = Field(default=True, description="Look for facet streaks and check their angles.")


class ScreeningSettings(_Group):
    """Geometry, model and deadlines of the pipeline."""

    geometry: str | None = Field(
        default=None,
        description="Name of a geometry preset, or path of a preset file. None: rocking curves get no class, and their "
        "records say what the documents hold.",
    )
    model: str = Field(default="production", description="Name or alias of a bundle in the registry, or its path.")
    sadp_bundle: str = Field(
        default="sadp",
        description="The same for electron diffraction. Without such a bundle its patterns are counted and set aside; "
        "rocking curves go on.",
    )
    registry: Path | None = Field(default=None, description="Folder of model bundles; None for the packaged ones.")
    runtime: RuntimePreference = Field(
        default="auto",
        description="What runs the model. auto: a GPU's best where there is one, else ONNX Runtime on the CPU. "
        "A named one is never replaced by another.",
    )
    threads: int = Field(default=2, gt=0, description="Threads of the CPU runtime.")
    provisional_at: tuple[float, ...] = Field(
        default=(0.7, 0.85),
        description="Shares of a scan's expected frames at which a provisional verdict is made, once the Bragg peak is "
        "behind; [] for none. Each costs as much as a verdict.",
    )
    allow_untrained_crystals: bool = Field(
        default=False,
        description="Name classes of crystals whose lattice or reflection the model wasn't trained for, with a note in "
        "the record. Else such a run is out_of_distribution.",
    )
    prior: dict[str, float] | None = Field(
        default=None,
        description="Share of each of the model's classes that is expected here, adding up to 1: weights the "
        "probabilities. None: as common as in the model's calibration.",
    )
    expire_interval_s: float = Field(default=0.25, gt=0, description="How often deadlines of open runs are looked at.")
    stop_deadline_s: float = Field(default=10.0, ge=0, description="Time for queued runs when asked to stop.")

    @field_validator("geometry")
    @classmethod
    def _blank_is_none(cls, geometry: str | None) -> str | None:
        # An unset variable that a container passes on arrives as an empty text.
        return geometry if geometry is not None and geometry.strip() else None

    @field_validator("prior")
    @classmethod
    def _sound_prior(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        return None if value is None else checked_prior(value)

    @field_validator("provisional_at")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        check_shares(value)
        return value


class StoreSettings(_Group):
    """Where results are kept."""

    path: Path = Field(default=Path("braggwatch.sqlite"), description="SQLite file; its folder must be writable.")
    max_array_bytes: int = Field(
        default=4_000_000_000, ge=0, description="Stored model inputs; the oldest arrays go, records stay."
    )
    max_pending: int = Field(default=10_000, gt=0, description="Results held in memory while the disk refuses them.")
    retry_interval_s: float = Field(default=1.0, gt=0, description="How often a refusing disk is tried again.")


class PublisherSettings(_Group):
    """The derived runs that carry verdicts back."""

    enabled: bool = Field(default=False, description="Publish a derived run for each result.")
    address: str = Field(default="tcp://127.0.0.1:5577", description="A proxy's in-address, or the address to bind.")
    mode: Literal["connect", "bind"] = Field(
        default="connect", description="connect: to a proxy, which must be there; bind: consumers connect to us."
    )
    prefix: str = Field(default="braggwatch", description="Prefix of the derived documents; not the raw one.")
    payload_format: PayloadFormat = Field(default=PayloadFormat.PICKLE, description="pickle is the stock default.")
    curve: CurveKeys | None = Field(default=None, description="Keys where the proxy demands CURVE; connect only.")

    @field_validator("address")
    @classmethod
    def _with_transport(cls, address: str) -> str:
        return normalise_address(address)

    @model_validator(mode="after")
    def _writable(self) -> Self:
        if self.payload_format is PayloadFormat.AUTO:
            raise ValueError("payload_format must be pickle or msgpack")
        if " " in self.prefix:
            raise ValueError("prefix may not contain a space")
        if self.mode == "bind" and self.curve is not None:
            raise ValueError("CURVE keys are a client's: use mode connect")
        return self


class PvSettings(_Group):
    """Verdicts as process variables (EPICS pvAccess), read-only."""

    enabled: bool = Field(default=False, description="Serve them; needs the extra 'epics'.")
    prefix: str = Field(default="BRAGGWATCH:", min_length=1, description="What each variable's name begins with.")
    interfaces: tuple[str, ...] = Field(
        default=("127.0.0.1",),
        min_length=1,
        description="Addresses of this machine to serve on; 0.0.0.0 for all. Whoever reaches one can read.",
    )
    port: int = Field(default=5075, ge=0, le=65535, description="TCP port; another one where it is taken, or for 0.")
    search_port: int = Field(default=5076, ge=0, le=65535, description="UDP port on which clients search; 0 for any.")

    @field_validator("prefix")
    @classmethod
    def _printable(cls, prefix: str) -> str:
        if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
            raise ValueError("may hold printable ASCII only, and no space")
        return prefix

    @field_validator("interfaces")
    @classmethod
    def _addresses(cls, interfaces: tuple[str, ...]) -> tuple[str, ...]:
        for one in interfaces:
            ip_address(one)
        return interfaces


class FeedbackSettings(_Group):
    """Who is told of results."""

    publisher: PublisherSettings = Field(default_factory=PublisherSettings, description="Derived runs over ZeroMQ.")
    pvs: PvSettings = Field(default_factory=PvSettings, description="Process variables over pvAccess.")
    retry_first_s: float = Field(default=0.5, gt=0, description="First pause after a sink failed; it doubles.")
    retry_longest_s: float = Field(default=30.0, gt=0, description="Longest such pause.")


class PageSettings(_Group):
    """The HTTP page, its events and its metrics."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; any but loopback needs tokens.")
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port; 0 lets the system choose.")
    read_token: SecretStr | None = Field(
        default=None, description="Token to look; needed off loopback. A blank one is none."
    )
    operate_token: SecretStr | None = Field(
        default=None, description="Token to label and comment; off loopback. A blank one is none."
    )
    client_queue: int = Field(default=256, gt=0, description="Events a browser may fall behind before it is dropped.")

    @field_validator("read_token", "operate_token")
    @classmethod
    def _blank_is_none(cls, token: SecretStr | None) -> SecretStr | None:
        # An unset variable that a container passes on arrives as an empty text, which would open to everyone.
        return token if token is not None and token.get_secret_value().strip() else None

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        if self.host not in _LOOPBACK and self.read_token is None:
            raise ValueError(f"host {self.host} is reachable from elsewhere: set read_token")
        return self


class Settings(BaseSettings):
    """All settings of one service."""

    model_config = SettingsConfigDict(
        env_prefix="BRAGGWATCH_", env_nested_delimiter="__", frozen=True, extra="forbid", title="Braggwatch settings"
    )

    stream: StreamSettings = Field(default_factory=StreamSettings, description="Where documents come from.")
    queue: QueueSettings = Field(default_factory=QueueSettings, description="Bounds of the backlog.")
    assembly: AssemblySettings = Field(default_factory=AssemblySettings, description="How runs are put together.")
    preprocessing: PreprocessingChoices = Field(
        default_factory=PreprocessingChoices, description="Corrections and thresholds."
    )
    sadp: PatternLimits = Field(default_factory=PatternLimits, description="Limits of live electron diffraction.")
    screening: ScreeningSettings = Field(default_factory=ScreeningSettings, description="Geometry, model, deadlines.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="Where results are kept.")
    feedback: FeedbackSettings = Field(default_factory=FeedbackSettings, description="Who is told of results.")
    page: PageSettings = Field(default_factory=PageSettings, description="The HTTP page.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (the base class says so)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the base class says so)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the base class says so)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the values given, which come from the file."""
        return env_settings, init_settings


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings from a TOML file, if any, and the environment.

    Raises
    ------
    SettingsError
        With one line for each wrong field, where the file is absent, not TOML, or holds a wrong value.
    """
    values: dict[str, object] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: not TOML: {error}") from error
    try:
        return Settings(**values)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        source = str(path) if path is not None else "environment"
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SettingsError("\n".join([f"{source}: {len(lines)} wrong setting(s)", *lines])) from error


def override(settings: Settings, **groups: Mapping[str, object | None]) -> Settings:
    """Return the settings with what was given on a command line, validated as a file's would be.

    Parameters
    ----------
    groups
        Name of a group → its fields; None leaves a field as it is.

    Raises
    ------
    InputError
        If a value is wrong; the text names the field.
    """
    changed: dict[str, object] = {}
    for name, options in groups.items():
        given = {key: value for key, value in options.items() if value is not None}
        if given:
            group = getattr(settings, name)
            with validated(f"options of {name}"):
                changed[name] = type(group).model_validate({**group.model_dump(), **given})
    return settings.model_copy(update=changed)

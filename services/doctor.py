"""Checks everything the service needs, and gives advice on what fails."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.services.settings import Settings

_CONNECT_S = 3.0
_LITTLE_DISK = 2_000_000_000
_NO_DISK = 100_000_000
_FEW_CORES = 2
_GOLDEN_LIMIT = "golden outputs reproduced, largest difference"
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


class Status(StrEnum):
    """State of one part."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class CheckResult(BaseModel):
    """Result of one check."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Status
    finding: str
    advice: str | None = Field(default=None, description="What to do; None if nothing needs to be done.")


Check = Callable[[Settings], CheckResult]


def examine(settings: Settings, without: Collection[str] = ()) -> Iterator[CheckResult]:
    """Yield one result per part, in the order that data pass them; no check raises or leaves anything behind.

    Parameters
    ----------
    without
        Names of parts to leave out.
    """
    for name, check in _CHECKS.items():
        if name in without:
            continue
        try:
            yield check(settings)
        except Exception as error:  # noqa: BLE001 - every failure is reported, a library's own errors included
            yield CheckResult(name=name, status=Status.FAIL, finding=f"{type(error).__name__}: {error}")


def examine_documents(settings: Settings, runs: Sequence[RunContents]) -> Iterator[CheckResult]:
    """Yield what the documents of runs hold, and whether the preset that the settings name fits the newest scan.

    Parameters
    ----------
    runs
        Oldest first, as heard or recorded.
    """
    from braggwatch.callbacks.cxdp.preset_fit import preset_fit
    from braggwatch.services.cxdp.preset import chosen_preset

    if not runs:
        yield CheckResult(
            name="documents",
            status=Status.WARN,
            finding="no document of a run came",
            advice="start a scan while the doctor listens (--listen SECONDS), or give a recording: --from FILE",
        )
        return
    run = next((one for one in reversed(runs) if one.images), runs[-1])
    motors = f"; motors {', '.join(run.motors)}" if run.motors else ""
    yield CheckResult(
        name="documents",
        status=Status.OK if run.images else Status.WARN,
        finding=f"run {run.named} has {run.in_words}{motors}",
        advice=None if run.images else "no key looks like detector frames: add the detector to the plan",
    )
    try:
        preset = chosen_preset(settings)
    except (LookupError, ValueError, OSError):
        return  # the check of the geometry has said so
    for line in preset_fit(preset, run):
        yield CheckResult(
            name=line.name,
            status=Status.OK if line.problem is None else Status.WARN if line.optional else Status.FAIL,
            finding=f"{line.field}: {line.found or 'missing'}",
            advice=line.problem,
        )


def _packages(settings: Settings) -> CheckResult:
    del settings
    found: list[str] = []
    # A machine with a GPU may have onnxruntime-gpu, which is the same package with CUDA.
    for names in (("bluesky",), ("event-model",), ("numpy",), ("onnxruntime", "onnxruntime-gpu"), ("pyzmq",)):
        installed = [text for name in names if (text := _installed(name)) is not None]
        if not installed:
            return CheckResult(
                name="packages",
                status=Status.FAIL,
                finding=f"{names[0]} is not installed",
                advice="pip install braggwatch",
            )
        if len(installed) > 1:
            return CheckResult(
                name="packages",
                status=Status.WARN,
                finding=f"{' and '.join(installed)} overwrite each other",
                advice=f"pip uninstall {' '.join(names)}; pip install one of them",
            )
        found += installed
    return CheckResult(name="packages", status=Status.OK, finding=", ".join(found))


def _installed(name: str) -> str | None:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def _cores(settings: Settings) -> CheckResult:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    few = cores < _FEW_CORES
    return CheckResult(
        name="processor",
        status=Status.WARN if few else Status.OK,
        finding=f"{cores} cores, {settings.screening.threads} threads for the model",
        advice="verdicts will take seconds: give the service two cores" if few else None,
    )


def _stream(settings: Settings) -> CheckResult:
    from braggwatch.services.stream.backlog import Backlog
    from braggwatch.services.stream.receiver import Receiver

    receiver = Receiver(settings.stream, Backlog(1000, 100_000_000))
    receiver.start()
    try:
        connected = receiver.wait_connected(_CONNECT_S)
        problem = receiver.stats.problem
    finally:
        receiver.stop()
    address = settings.stream.address
    if connected:
        return CheckResult(name="stream", status=Status.OK, finding=f"connected to the proxy at {address}")
    return CheckResult(
        name="stream",
        status=Status.FAIL,
        finding=f"no connection to {address}" + (f": {problem}" if problem else ""),
        advice="start 'bluesky-0MQ-proxy --in-address … --out-address …', or set [stream] address to its out-address",
    )


def _geometry(settings: Settings) -> CheckResult:
    from braggwatch.services.cxdp.preset import chosen_preset
    from braggwatch.sim.geometry import preset_names

    if settings.screening.geometry is None:
        return CheckResult(
            name="geometry",
            status=Status.WARN,
            finding="no geometry preset: rocking curves get no class; a geometry is never assumed",
            advice=f"give --geometry, or set [screening] geometry: one of {', '.join(preset_names())} or a preset file",
        )
    try:
        preset = chosen_preset(settings)
    except (LookupError, ValueError, OSError) as error:
        return CheckResult(
            name="geometry",
            status=Status.FAIL,
            finding=str(error),
            advice=f"give --geometry, or set [screening] geometry: one of {', '.join(preset_names())} or a preset file",
        )
    return CheckResult(name="geometry", status=Status.OK, finding=f"preset {preset.name}: {preset.detector_field}")


def _model(settings: Settings) -> CheckResult:
    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.cxdp.classifier import BundleClassifier

    advice = "see 'braggwatch models verify'; reinstall the package if its own bundle is damaged"
    try:
        path = Registry(settings.screening.registry).locate(settings.screening.model)
        screening = settings.screening
        classifier = BundleClassifier.load(
            path, threads=screening.threads, prefer=screening.runtime, prior=screening.prior
        )
        difference = classifier.self_test()
    except Exception as error:  # noqa: BLE001 - a bundle can be wrong in every way a file can
        return CheckResult(name="model", status=Status.FAIL, finding=str(error), advice=advice)
    identity = classifier.identity
    return CheckResult(
        name="model",
        status=Status.OK,
        finding=f"{identity.id} on {identity.runtime}, {_GOLDEN_LIMIT} {difference:.1e}",
    )


def _gpu(settings: Settings) -> CheckResult:
    del settings
    from braggwatch.models.runtimes.base import RuntimeUnavailableError
    from braggwatch.models.runtimes.cuda_probe import find_device
    from braggwatch.models.runtimes.factory import CANDIDATES

    try:
        device = find_device()
    except RuntimeUnavailableError as error:
        if not _NVIDIA_DRIVER.exists():
            return CheckResult(
                name="accelerator", status=Status.OK, finding="no NVIDIA driver: everything runs on the CPU"
            )
        return CheckResult(
            name="accelerator",
            status=Status.WARN,
            finding=f"the NVIDIA driver can't be used: {error}",
            advice="see nvidia-smi; in a container, give it the GPU (--gpus all)",
        )
    found = f"{device.name}, driver {device.driver}"
    able = [runtime.name for runtime in CANDIDATES if not runtime.on_cpu and runtime.probe() is None]
    if not able:
        return CheckResult(
            name="accelerator",
            status=Status.WARN,
            finding=f"{found}, but no runtime for it: the model runs on the CPU",
            advice="see docs/how-to/gpu.md for what to install",
        )
    return CheckResult(name="accelerator", status=Status.OK, finding=f"{found}, for {', '.join(able)}")


def _runtimes(settings: Settings) -> CheckResult:
    from braggwatch.models.runtimes.factory import CANDIDATES

    reasons = {runtime.name: runtime.probe() for runtime in CANDIDATES}
    able = [name for name, reason in reasons.items() if reason is None]
    unable = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    wanted = settings.screening.runtime
    refused = reasons.get(wanted)
    finding = "; ".join([f"{', '.join(able)} can run a model here", *unable])
    if refused is not None:
        return CheckResult(
            name="runtimes",
            status=Status.FAIL,
            finding=f"the requested runtime {wanted} can't run: {refused}",
            advice=f"set [screening] runtime to auto or to one of {', '.join(able)}",
        )
    return CheckResult(name="runtimes", status=Status.OK, finding=finding)


def _store(settings: Settings) -> CheckResult:
    path = settings.store.path.resolve()
    folder = path.parent
    if not folder.is_dir():
        return CheckResult(
            name="store", status=Status.FAIL, finding=f"no folder {folder}", advice="create it, or set [store] path"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return CheckResult(
            name="store",
            status=Status.FAIL,
            finding=f"{folder} can't be written: {error.strerror}",
            advice="give the service's user write permission there, or set [store] path",
        )
    status = Status.FAIL if free < _NO_DISK else Status.WARN if free < _LITTLE_DISK else Status.OK
    return CheckResult(
        name="store",
        status=status,
        finding=f"{path}, {free / 1e9:.1f} GB free",
        advice=None if status is Status.OK else "free some disk space: results wait in memory while the disk is full",
    )


def _page(settings: Settings) -> CheckResult:
    host, port = settings.page.host, settings.page.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return CheckResult(
                name="page",
                status=Status.WARN,
                finding=f"can't listen on {host}:{port}: {error.strerror}",
                advice="fine if Braggwatch is already running there; otherwise set [page] port",
            )
    return CheckResult(name="page", status=Status.OK, finding=f"{host}:{port} is free")


def _pvs(settings: Settings) -> CheckResult:
    pvs = settings.feedback.pvs
    if not pvs.enabled:
        return CheckResult(
            name="variables", status=Status.OK, finding="not enabled: verdicts aren't served as process variables"
        )
    found = _installed("p4p")
    if found is None:
        return CheckResult(
            name="variables",
            status=Status.FAIL,
            finding="[feedback.pvs] is enabled, but p4p is not installed",
            advice="pip install 'braggwatch[epics]'",
        )
    return CheckResult(
        name="variables", status=Status.OK, finding=f"{found} will serve {pvs.prefix}* on {', '.join(pvs.interfaces)}"
    )


_CHECKS: dict[str, Check] = {
    "packages": _packages,
    "processor": _cores,
    "stream": _stream,
    "geometry": _geometry,
    "runtimes": _runtimes,
    "model": _model,
    "accelerator": _gpu,
    "store": _store,
    "page": _page,
    "variables": _pvs,
}

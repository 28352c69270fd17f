"""A pvAccess server for variables that clients read and never write, made with p4p."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from braggwatch.services.feedback.pvs_values import PvDefinition, Reading, Severity
from braggwatch.services.settings import PvSettings
from braggwatch.services.settings_error import SettingsError

if TYPE_CHECKING:
    from p4p.nt import NTEnum, NTScalar
    from p4p.server.raw import SharedPV

NO_P4P: Final = "p4p is not installed: pip install 'braggwatch[epics]'"

_CODES = {"text": "s", "integer": "l", "number": "d"}
_DIGITS = 3
# alarm_t.status of the normative types: where an alarm comes from
_STATUS_NONE, _STATUS_RECORD, _STATUS_UNDEFINED = 0, 3, 6
_TAG_MASK = 0x7FFFFFFF


class PvServer:
    """Serves variables until it is closed. Posting only queues: no client, however slow, holds it up.

    Raises
    ------
    SettingsError
        Where p4p is absent or the address can't be used.
    """

    def __init__(self, settings: PvSettings, initial: Mapping[PvDefinition, Reading]) -> None:
        try:
            from p4p.server import Server, StaticProvider
            from p4p.server.raw import SharedPV
        except ImportError as error:
            raise SettingsError(f"feedback.pvs.enabled: {NO_P4P}") from error

        # Without a handler a variable refuses every put, and no thread of p4p's own is started.
        self._variables: dict[str, tuple[SharedPV, NTScalar | NTEnum, list[str]]] = {}
        self._provider = StaticProvider()
        for definition, reading in initial.items():
            kind = _normative(definition)
            # What a post doesn't name, such as the limits for displays, stays as it is here.
            variable = SharedPV(nt=kind, initial=_opening(definition, reading), timestamp=time.time())
            self._provider.add(settings.prefix + definition.name, variable)
            self._variables[definition.name] = (variable, kind, list(definition.choices))
        self._lock = threading.Lock()
        self._closed = False
        address = {
            "EPICS_PVAS_INTF_ADDR_LIST": " ".join(settings.interfaces),
            "EPICS_PVAS_SERVER_PORT": str(settings.port),
            "EPICS_PVAS_BROADCAST_PORT": str(settings.search_port),
        }
        try:
            self._server = Server(providers=[self._provider], conf=address)
        except RuntimeError as error:
            raise SettingsError(f"feedback.pvs.interfaces {', '.join(settings.interfaces)}: {error}") from error

    @property
    def client_configuration(self) -> dict[str, str]:
        """What a p4p client needs to find this server, ports included."""
        return dict(self._server.conf())

    def post(self, name: str, reading: Reading, at: float, tag: int = 0) -> None:
        """Set a variable.

        Parameters
        ----------
        at
            Time stamp, seconds since the epoch.
        tag
            ``timeStamp.userTag``: the same for all values that belong together.
        """
        variable, kind, choices = self._variables[name]
        value = kind.wrap(reading.value, timestamp=at, severity=int(reading.severity), message=reading.message)
        if choices:
            # Each time: a p4p client forgets them as soon as it reads a variable of another type.
            value["value.choices"] = choices
        value["alarm.status"] = _status(reading)
        value["timeStamp.userTag"] = tag & _TAG_MASK
        variable.post(value)

    def close(self) -> None:
        """Disconnect the clients and stop; does nothing the second time."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._server.stop()


def _normative(definition: PvDefinition) -> NTScalar | NTEnum:
    from p4p.nt import NTEnum, NTScalar

    if definition.kind == "choice":
        return NTEnum(extra=[("descriptor", "s")])
    return NTScalar(_CODES[definition.kind], display=True, form=True, valueAlarm=definition.alarm_limits is not None)


def _opening(definition: PvDefinition, reading: Reading) -> dict[str, object]:
    opening: dict[str, object] = {
        "value": reading.value,
        "alarm": {"severity": int(reading.severity), "status": _status(reading), "message": reading.message},
    }
    if definition.kind == "choice":
        opening["value"] = {"index": reading.value, "choices": list(definition.choices)}
        opening["descriptor"] = definition.description
        return opening
    display: dict[str, object] = {"description": definition.description}
    if definition.kind == "number":
        display["precision"] = _DIGITS
    opening["display"] = display
    if definition.alarm_limits is not None:
        minor, major = definition.alarm_limits
        opening["valueAlarm"] = {
            "active": True,
            "highWarningLimit": minor,
            "highWarningSeverity": int(Severity.MINOR),
            "highAlarmLimit": major,
            "highAlarmSeverity": int(Severity.MAJOR),
        }
    return opening


def _status(reading: Reading) -> int:
    if reading.severity is Severity.INVALID:
        return _STATUS_UNDEFINED
    return _STATUS_NONE if reading.severity is Severity.NO_ALARM else _STATUS_RECORD

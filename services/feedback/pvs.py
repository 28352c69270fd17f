"""Verdicts as process variables over pvAccess: a sink for results, and the newest word on a run that goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.services.feedback.pvs_server import PvServer
from braggwatch.services.feedback.pvs_values import COUNT, EPOCH, HEARTBEAT, PvTable, Reading, names_a_class
from braggwatch.services.live.sink import Sink, SinkKind
from braggwatch.services.settings import PvSettings
from braggwatch.services.settings_error import SettingsError
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_BEAT_S: Final = 1.0
_REMEMBERED: Final = 1024


class VerdictPvs(Sink):
    """A sink that shows each result in a set of variables, read-only for clients.

    The variables are there from the beginning, undefined with severity INVALID until something is said. All of one
    result carry its time and, as ``timeStamp.userTag``, its number; ``COUNT`` is set to that number after all others.
    What a class rests on is set before the class, and a class goes before what it rested on.

    Parameters
    ----------
    epoch
        The store's: a client sees by it that the service was started anew, and ``COUNT`` with it.
    classes
        The model's, which with the outcomes are the choices of the verdict.

    Raises
    ------
    SettingsError
        Where p4p is absent or the address can't be used.
    """

    name = "pvs"

    def __init__(self, settings: PvSettings, epoch: int, classes: Sequence[str]) -> None:
        try:
            self._table = PvTable(classes)
        except ValueError as error:
            raise SettingsError(f"feedback.pvs.enabled: {error}") from error
        table = self._table
        initial = {one: table.unset(one) for one in (*table.results, *table.so_far, *table.standing)}
        self._server = PvServer(settings, {**initial, table.count: Reading(0)})
        self._server.post(EPOCH, Reading(epoch), time.time())
        self._count = 0
        self._shown = Bounded[tuple[str, str | None, int], None](_REMEMBERED)
        self._lock = threading.Lock()
        self._newest: ProvisionalVerdict | None = None
        self._wake = threading.Event()
        self._beaten = threading.Event()
        self._stopping = threading.Event()
        self._teller = threading.Thread(target=self._tell, name="braggwatch-pv-teller", daemon=True)
        self._teller.start()
        logger.info("verdicts are served as %s* on %s", settings.prefix, ", ".join(settings.interfaces))

    @property
    def client_configuration(self) -> dict[str, str]:
        """What a p4p client needs to find this server, ports included."""
        return self._server.client_configuration

    def publish(self, result: ScreeningResult) -> None:
        """Show one result; a repeat changes nothing."""
        model = result.verdict.model
        key = (result.run_uid, None if model is None else model.id, result.revision)
        if key not in self._shown:
            self._count += 1
            self._set(self._table.of_result(result), result.finished_at, self._count)
            self._server.post(COUNT, Reading(self._count), result.finished_at, self._count)
            self._shown[key] = None
        with self._lock:
            if self._newest is not None and self._newest.run_uid == result.run_uid:
                self._newest = None
        self._wake.set()

    def provisional(self, verdict: ProvisionalVerdict) -> None:
        """Show what is said of a run that goes on, until its result comes. Returns at once; from any thread."""
        with self._lock:
            self._newest = verdict
        self._wake.set()

    def beat(self) -> None:
        """Let the heartbeat count on; called at each turn of the loop that judges, from any thread."""
        self._beaten.set()

    def close(self) -> None:
        """Disconnect the clients; does nothing the second time."""
        self._stopping.set()
        self._wake.set()
        self._teller.join()
        self._server.close()

    def _tell(self) -> None:
        told: ProvisionalVerdict | None = None
        number = beats = 0
        next_beat = time.monotonic()
        while not self._stopping.is_set():
            self._wake.clear()
            with self._lock:
                newest = self._newest
            if newest is not told:
                number += 1
                self._tell_so_far(newest, number)
                told = newest
            now = time.monotonic()
            if now >= next_beat:
                next_beat = max(next_beat + _BEAT_S, now)
                if self._beaten.is_set():
                    self._beaten.clear()
                    beats += 1
                    self._server.post(HEARTBEAT, Reading(beats), time.time())
            self._wake.wait(max(0.0, next_beat - time.monotonic()))

    def _tell_so_far(self, newest: ProvisionalVerdict | None, number: int) -> None:
        if newest is None:
            self._set({one.name: self._table.unset(one) for one in self._table.so_far}, time.time(), number)
        else:
            self._set(self._table.of_provisional(newest), newest.made_at, number)

    def _set(self, readings: Mapping[str, Reading], at: float, tag: int) -> None:
        order = list(readings.items())
        # The class comes last in the table: it goes first where the new ones hold none.
        for name, reading in order if names_a_class(readings) else reversed(order):
            self._server.post(name, reading, at, tag)


PROCESS_VARIABLES: Final = SinkKind(
    VerdictPvs.name,
    is_enabled=lambda feedback: feedback.pvs.enabled,
    open=lambda feedback, context: VerdictPvs(feedback.pvs, context.epoch, context.classes.get("cxdp", ())),
)

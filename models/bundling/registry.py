"""A folder of bundles, ``NAME/VERSION/``, and an index that pins their hashes and gives them aliases."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from braggwatch.models.bundling.bundle import MANIFEST_FILE, SUMS_FILE, Bundle, BundleError
from braggwatch.models.bundling.manifest import Manifest, plain_word
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.sim.errors import BraggwatchError, InputError

logger = logging.getLogger(__name__)

INDEX_FILE = "index.json"
PRODUCTION = "production"
_LOCK_POLL_S = 0.05


class VersionTakenError(InputError, FileExistsError):
    """A registry holds that version already; the text says what to do."""


class RegistryError(BraggwatchError):
    """A name can't be resolved or the index can't be used; the message says what is there."""


class RegistryIndex(BaseModel):
    """The whole of ``index.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=1, ge=1, le=1)
    aliases: dict[str, str] = Field(default_factory=dict, description="Alias to bundle id, e.g. 'production'.")
    bundles: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of SHA256SUMS of each bundle that has an alias, by id."
    )


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """Outcome of checking one bundle; ``problem`` is None where it is sound."""

    bundle_id: str
    problem: str | None
    golden_difference: float | None = None
    runtime: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the bundle may be used."""
        return self.problem is None


def check_new_bundle(root: Path, name: str, version: str) -> None:
    """Make sure, before anything long begins, that a bundle can be written under this name.

    Raises
    ------
    VersionTakenError
        If that version exists: a bundle never changes.
    InputError
        If name or version aren't words that a bundle may have, or the folder can't be written to.
    """
    for what, word in (("name", name), ("version", version)):
        try:
            plain_word(word)
        except ValueError as error:
            raise InputError(f"the {what} of a bundle: {error}") from error
    target = root / name / version
    if target.exists():
        raise VersionTakenError(f"{target} exists; a bundle never changes, give a new version")
    there = next(one for one in (target.parent, *target.parent.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} can't be written to: give another folder of bundles with --registry")


def default_root() -> Path:
    """Folder of the bundles that come with the package."""
    return Path(__file__).parents[1] / "bundles"


class Registry:
    """Finds bundles by name or alias.

    Parameters
    ----------
    root
        Folder of bundles; None for those that come with the package.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root

    @property
    def index(self) -> RegistryIndex:
        """The index as it is on disk now; empty where there is none.

        Raises
        ------
        RegistryError
            If it can't be read.
        """
        path = self.root / INDEX_FILE
        try:
            return RegistryIndex.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return RegistryIndex()
        except (OSError, ValidationError) as error:
            raise RegistryError(f"{path} can't be used: {error}") from error

    def list(self, task: str | None = None) -> tuple[str, ...]:
        """Ids, ``name/version``, of every bundle in the folder, sorted; with ``task`` those of that task alone."""
        found = (path.parent for path in self.root.glob(f"*/*/{MANIFEST_FILE}"))
        ids = sorted(f"{path.parent.name}/{path.name}" for path in found if not path.name.startswith("."))
        return tuple(one for one in ids if task is None or self._task(one) == task)

    def manifest(self, bundle_id: str) -> Manifest:
        """Read what a bundle says of itself, without checking its hashes.

        Raises
        ------
        RegistryError
            If it can't be read.
        """
        path = self.root / bundle_id / MANIFEST_FILE
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RegistryError(f"{path} can't be used: {error}") from error

    def _task(self, bundle_id: str) -> str | None:
        """Return the task of a bundle; None where its manifest can't be read."""
        try:
            return self.manifest(bundle_id).task
        except RegistryError:
            return None

    def aliases(self) -> dict[str, str]:
        """Aliases and the ids that they stand for."""
        return dict(self.index.aliases)

    def resolve(self, name: str) -> Path:
        """Folder of a bundle.

        Parameters
        ----------
        name
            An alias ('production'), an id ('cxdp-fcc/1.0.0'), or a bare name with one version ('cxdp-fcc').

        Raises
        ------
        RegistryError
            If nothing, or more than one version, goes by that name, or a bundle isn't the one that its alias was
            given to.
        """
        index, known = self.index, self.list()
        bundle_id = index.aliases.get(name, name)
        if bundle_id not in known:
            versions = [one for one in known if one.split("/")[0] == bundle_id]
            if len(versions) != 1:
                there = f"bundles {list(known)}, aliases {sorted(index.aliases)}"
                what = f"{name!r} has several versions" if versions else f"no bundle goes by {name!r}"
                raise RegistryError(f"{what} in {self.root}; there are {there}")
            bundle_id = versions[0]
        path = self.root / bundle_id
        pinned = index.bundles.get(bundle_id)
        if name in index.aliases and pinned != _sums_digest(path):
            raise RegistryError(f"{path} isn't the bundle that the alias {name!r} was given to; promote it again")
        return path

    def locate(self, name: str) -> Path:
        """Folder of a bundle that a person named, by its own folder or by what `resolve` takes.

        A bare word is a name of the registry first: a folder that happens to be called so is written './production'. A
        name with a '/' is a folder first, if that holds a bundle. Where both are there, the log says which was taken.

        Raises
        ------
        RegistryError
            As `resolve` does, where there is no such folder either.
        """
        folder = Path(name)
        holds_bundle = (folder / MANIFEST_FILE).is_file()
        if holds_bundle and os.sep in name:
            if name in self.list() and not folder.samefile(self.root / name):
                logger.warning("%s is taken from the folder here, not from %s", name, self.root)
            return folder
        try:
            found = self.resolve(name)
        except RegistryError:
            if folder.is_dir() and name not in self.index.aliases:
                return folder  # reading it says what a bundle lacks there
            raise
        if holds_bundle and not folder.samefile(found):
            logger.warning(
                "%s is %s of the registry; the folder here would be %s%s%s", name, found, os.curdir, os.sep, name
            )
        return found

    def verify(self, bundle_id: str | None = None) -> tuple[VerificationReport, ...]:
        """Check hashes, schema and golden outputs of one bundle or of all; never raises for a bad bundle."""
        if bundle_id is None:
            return tuple(self._verify_one(one) for one in self.list())
        try:
            path = self.resolve(bundle_id)
        except RegistryError as error:
            return (VerificationReport(bundle_id, str(error)),)
        return (self._verify_one(f"{path.parent.name}/{path.name}"),)

    def _verify_one(self, bundle_id: str) -> VerificationReport:
        try:
            bundle = Bundle.load(self.root / bundle_id)
            if bundle.manifest.id != bundle_id:
                return VerificationReport(bundle_id, f"the manifest calls itself {bundle.manifest.id}")
            runtime, difference = open_runtime(bundle)
        except (BundleError, RuntimeUnavailableError) as error:
            return VerificationReport(bundle_id, str(error))
        return VerificationReport(bundle_id, None, difference, runtime.name)

    def promote(self, alias: str, bundle_id: str, patience_s: float = 30.0) -> None:
        """Verify a bundle and let an alias stand for it from now on; readers see the old or the new index.

        Several processes may promote at once: each waits for its turn to change the index.

        Parameters
        ----------
        patience_s
            How long to wait for a turn.

        Raises
        ------
        RegistryError
            If the bundle fails its verification, the alias looks like an id, the turn doesn't come, or 'production',
            what the service takes, would stand for a bundle of another task than the service's.
        """
        if not alias or "/" in alias:
            raise RegistryError(f"{alias!r} can't be an alias: it must be a word without '/'")
        if bundle_id not in self.list():
            raise RegistryError(f"no bundle {bundle_id!r} in {self.root}; there are {list(self.list())}")
        report = self._verify_one(bundle_id)
        if report.problem is not None:
            raise RegistryError(f"{bundle_id} is not promoted: {report.problem}")
        if alias == PRODUCTION and (task := self.manifest(bundle_id).task) != DEFECT_TASK:
            raise RegistryError(
                f"{bundle_id} is of task '{task}', and '{PRODUCTION}' is what the service takes for '{DEFECT_TASK}': "
                "give it another alias"
            )
        with self._turn(patience_s):
            index = self.index
            aliases = {**index.aliases, alias: bundle_id}
            pins = {**index.bundles, bundle_id: _sums_digest(self.root / bundle_id)}
            self._write(
                RegistryIndex(
                    aliases=dict(sorted(aliases.items())),
                    bundles={one: digest for one, digest in sorted(pins.items()) if one in aliases.values()},
                )
            )

    @contextmanager
    def _turn(self, patience_s: float) -> Generator[None]:
        """Hold a lock on the folder itself: it leaves no file behind and ends with its process."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            until = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise RegistryError(f"another promotion in {self.root} has not ended: try again") from None
                    time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(folder)

    def _write(self, index: RegistryIndex) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{INDEX_FILE}.", dir=self.root)
        staging = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(index.model_dump_json(indent=2) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            staging.chmod(0o644)
            staging.replace(self.root / INDEX_FILE)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise


def _sums_digest(path: Path) -> str:
    try:
        return hashlib.sha256((path / SUMS_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise RegistryError(f"{path / SUMS_FILE} can't be read: {error}") from error

"""What stands in ``model.json`` stays as it stands, whichever task reads it; a task may have fields of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError

from braggwatch.models.bundling import tasks
from braggwatch.models.bundling.bundle import MANIFEST_FILE, Bundle, BundleError
from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.bundling.registry import Registry, default_root
from braggwatch.models.bundling.tasks import TASK_MODULES, Task, task_named

SHIPPED = Registry().list()
OLDER = {name for name in SHIPPED if name not in ("cxdp-fcc/1.6.0", "cxdp-fcc/1.8.0")}
"""Written before some of the fields were there, which are added with their defaults."""


def text_of(bundle_id: str) -> str:
    return (default_root() / bundle_id / MANIFEST_FILE).read_text(encoding="utf-8")


def written(text: str) -> str:
    return Manifest.model_validate_json(text).model_dump_json(indent=2) + "\n"


def kept(before: object, after: object) -> object:
    """What ``after`` holds at the places that ``before`` has; anything else in it must be a default."""
    if isinstance(before, dict) and isinstance(after, dict):
        assert all(not after[name] for name in after.keys() - before.keys())
        return {name: kept(value, after.get(name)) for name, value in before.items()}
    return after


@pytest.mark.parametrize("bundle_id", SHIPPED)
def test_a_shipped_manifest_is_written_as_it_was_read(bundle_id: str) -> None:
    text = text_of(bundle_id)
    again = written(text)
    if bundle_id in OLDER:
        assert json.dumps(kept(json.loads(text), json.loads(again))) == json.dumps(json.loads(text))
    else:
        assert again == text
    assert written(again) == again


@pytest.mark.parametrize("bundle_id", SHIPPED)
def test_reading_manifests_is_all_it_takes_to_read_a_bundle(bundle_id: str) -> None:
    path = default_root() / bundle_id / MANIFEST_FILE
    program = (
        "import sys; from pathlib import Path; from braggwatch.models.bundling.manifest import Manifest; "
        "systems = [one for one in sys.modules if one.startswith(('braggwatch.models.cxdp', 'braggwatch.models.sadp', "
        "'braggwatch.models.apt'))]; assert not systems, systems; "
        "Manifest.model_validate_json(Path(sys.argv[1]).read_bytes())"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


@pytest.mark.parametrize("name", sorted(TASK_MODULES))
def test_every_task_calls_itself_by_its_word(name: str) -> None:
    task = task_named(name)
    assert task is not None
    assert task.name == name


@pytest.mark.parametrize(
    ("bundle_id", "place", "value", "where"),
    [
        ("sadp-cubic/1.3.0", ("groups", "members"), [{"class_index": -1, "group": "225", "zone": [0, 0, 1]}], "groups"),
        ("apt-l12/1.0.0", ("order_rule", "scale"), [], "order_rule"),
        ("apt-l12/1.0.0", ("input", "sdm", "bins_x"), 0, r"input\.sdm\.bins_x"),
        ("apt-l12/1.0.0", ("input", "sdm", "bins_x"), 7, "no input of shape"),
    ],
)
def test_a_task_refuses_what_is_unsound_in_its_own_words(
    bundle_id: str, place: tuple[str, ...], value: object, where: str
) -> None:
    said = json.loads(text_of(bundle_id))
    inner = said
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(ValidationError, match=where) as refused:
        Manifest.model_validate_json(json.dumps(said))
    assert refused.value.errors()[0]["loc"][0] == place[0]


def test_a_field_is_taken_only_from_a_task_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {**json.loads(text_of("cxdp-fcc/1.5.0")), "twin_law": "111"}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted") as refused:
        Manifest.model_validate_json(json.dumps(said))
    assert refused.value.errors()[0]["loc"] == ("twin_law",)

    def laws(said: Mapping[str, JsonValue]) -> None:
        if said["twin_law"] not in {"111", "112"}:
            raise ValueError("no such twin law")

    module = type(sys)("twins")
    vars(module)["TASK"] = Task("twins", "twins", check=laws, fields=frozenset({"twin_law"}))
    monkeypatch.setitem(sys.modules, "twins", module)
    monkeypatch.setitem(tasks.TASK_MODULES, "twins", "twins")
    text = json.dumps({**said, "task": "twins"})
    assert json.loads(written(text))["twin_law"] == "111"
    with pytest.raises(ValidationError, match="no such twin law"):
        Manifest.model_validate_json(text.replace('"twin_law": "111"', '"twin_law": "113"'))


def test_a_bundle_says_where_its_manifest_is_wrong(tmp_path: Path) -> None:
    import hashlib
    import shutil

    folder = tmp_path / "apt-l12" / "1.0.0"
    shutil.copytree(default_root() / "apt-l12" / "1.0.0", folder)
    said = json.loads((folder / MANIFEST_FILE).read_text())
    said["order_rule"]["hidden_bias"] = []
    (folder / MANIFEST_FILE).write_text(json.dumps(said))
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    new = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(
        "".join(f"{new if line.endswith(MANIFEST_FILE) else line.split()[0]}  {line.split()[1]}\n" for line in sums)
    )
    with pytest.raises(BundleError, match=r"model\.json: order_rule: .*weights of"):
        Bundle.load(folder)

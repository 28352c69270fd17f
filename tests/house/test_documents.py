"""What the documents say is there: links, make targets, commands, options, every name of the reference pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors as the usual forges make them of headings."""
    headings = re.findall(r"^#+\s+(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@each_page
def test_every_page_has_one_title(page: Path) -> None:
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1


def test_every_page_of_the_documentation_can_be_reached_from_its_index() -> None:
    docs = ROOT / "docs"
    reached, waiting = set(), [docs / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in LINK.findall(prose(page)) if "://" not in link]
        waiting += [(page.parent / link).resolve() for link in links if link]
    assert set(docs.rglob("*.md")) <= reached


def shell_lines(page: Path) -> list[str]:
    """Commands of console blocks, continuation lines joined, comments and answers left out."""
    lines: list[str] = []
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        joined = block.replace("\\\n", " ")
        lines += [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return lines


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)[^`]*`", prose(page)))
    named |= {m[1] for line in shell_lines(page) if (m := re.match(r"make ([a-z-]+)", line))}
    assert named <= targets


def test_the_readme_begins_with_two_commands() -> None:
    lines = shell_lines(ROOT / "README.md")
    assert {"make demo", "make test"} <= {line.split("#")[0].strip() for line in lines}


def spellings(reference: ModuleType) -> dict[str, set[str]]:
    from braggwatch.services.cli import app

    common = {"--help", "-h"}
    return {
        path: common.union(*(parameter.names for parameter in reference.parameters(function)))
        for path, function in reference.commands(app)
    }


def check_call(words: list[str], known: dict[str, set[str]]) -> None:
    words = [word for word in words if word not in {"-v", "-vv"}]
    command = next((path for path in known if words[: len(path.split())] == path.split()), None)
    assert command is not None, f"no such command: {' '.join(words)}"
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert options <= known[command], f"{command} has no {sorted(options - known[command])}"


@each_page
def test_calls_of_braggwatch_are_spelt_as_it_understands_them(page: Path, reference: ModuleType) -> None:
    known = spellings(reference)
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        while words and "=" in words[0]:
            words.pop(0)
        if words and Path(words[0]).name == "braggwatch" and words[1:] not in ([], ["--help"], ["--version"]):
            check_call(["braggwatch", *words[1:]], known)


def test_every_command_shows_a_call_that_is_right(reference: ModuleType) -> None:
    from braggwatch.services.cli import app

    known = spellings(reference)
    older = reference.older_spellings(app)
    for path, function in reference.commands(app):
        text = function.__doc__ or ""
        examples = re.findall(r"Example: \*\*(.+?)\*\*", text)
        assert examples, f"{path} shows no example"
        for example in examples:
            assert example.startswith(older.get(path, path))
            check_call(shlex.split(example), known)


def test_every_option_is_explained(reference: ModuleType) -> None:
    from braggwatch.services.cli import app

    silent = [
        f"{path} {parameter.usage}"
        for path, function in reference.commands(app)
        for parameter in reference.parameters(function)
        if not parameter.text
    ]
    assert silent == []


def test_every_command_explains_itself() -> None:
    from typer.testing import CliRunner

    from braggwatch.services.cli import app

    for words in (["--help"], ["demo", "--help"], ["import", "34idc", "-h"], ["models", "verify", "--help"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0
        assert "Usage" in result.output


@pytest.mark.parametrize("name", ["settings.md", "cli.md", "metrics.md"])
def test_generated_pages_are_up_to_date(reference: ModuleType, name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.pages()[name], "run 'make docs'"


def documented(page: str) -> set[str]:
    """What stands in code type on a reference page."""
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    return set(re.findall(r"`([^`\n]+)`", text))


def test_the_derived_run_page_names_every_field() -> None:
    from braggwatch.models.verdict import Outcome
    from braggwatch.services.cxdp.live.derived_run import flat_fields

    classified, silent = (flat_fields(result, epoch=1) for result in example_results())
    named = documented("documents.md")
    fields = {"probability_CLASS" if name.startswith("probability_") else name for name in {*classified, *silent}}
    assert fields <= named
    assert {outcome.value for outcome in Outcome} <= named


def example_results():
    from braggwatch.callbacks.cxdp.records import ScreeningResult
    from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict

    verdict = Verdict(
        outcome=Outcome.CLASSIFIED,
        label="screw",
        probabilities={"screw": 1.0},
        confidence=1.0,
        prediction_set=("screw",),
        ood_score=1.0,
        ood_threshold=2.0,
        model=ModelIdentity(name="a", version="1", sha256="0" * 64, runtime="r"),
    )
    result = ScreeningResult(
        run_uid="u",
        scan_id=1,
        revision=1,
        verdict=verdict,
        frames_expected=9,
        frames_received=9,
        quality=None,
        started_at=0.0,
        finished_at=0.0,
        latency_s=0.0,
    )
    return result, result.model_copy(update={"verdict": Verdict.without_class(Outcome.INVALID, "why")})


def test_the_record_page_names_every_field() -> None:
    from braggwatch.callbacks.cxdp.records import Quality, ScreeningResult
    from braggwatch.models.verdict import ModelIdentity, Verdict

    fields = {name for model in (ScreeningResult, Verdict, ModelIdentity, Quality) for name in model.model_fields}
    assert fields <= documented("documents.md")


def test_the_geometry_page_names_every_field() -> None:
    from braggwatch.sim.geometry import preset_names
    from braggwatch.sim.geometry.model import CirclePreset, GeometryPreset, Signal

    fields = {name for model in (GeometryPreset, CirclePreset, Signal) for name in model.model_fields}
    assert {*fields, *preset_names()} <= documented("geometry.md")


def test_the_bundle_page_names_every_file_and_field() -> None:
    from braggwatch.models.bundling.bundle import REQUIRED_FILES, SUMS_FILE
    from braggwatch.models.bundling.manifest import InputSpec, Manifest, Thresholds, ValidDomain, VolumeLimits

    fields = {
        name for model in (Manifest, InputSpec, Thresholds, ValidDomain, VolumeLimits) for name in model.model_fields
    }
    assert {*REQUIRED_FILES, SUMS_FILE, *fields} <= documented("bundle.md")


def test_the_http_page_names_every_route(tmp_path: Path) -> None:
    from braggwatch.services.composition import MODALITIES
    from braggwatch.services.live.health import Health
    from braggwatch.services.live.instruments import Instruments
    from braggwatch.services.live.modality import LiveContext
    from braggwatch.services.metrics.prometheus import Metrics
    from braggwatch.services.page import create_app
    from braggwatch.services.settings import Settings
    from braggwatch.services.storage.result_store import ResultStore

    store = ResultStore(tmp_path / "r.sqlite")
    settings = Settings()
    try:
        modalities = [opened(LiveContext(settings, store, Instruments.of())) for opened in MODALITIES]
        parts = [modality.add_routes for modality in modalities]
        app = create_app(parts, Metrics(), Health(), settings.page, epoch=store.epoch, watchers=lambda: 0)
        routes = {f"{m.upper()} {path}" for path, methods in app.openapi()["paths"].items() for m in methods}
    finally:
        store.close()
    assert routes
    assert routes <= documented("http.md")

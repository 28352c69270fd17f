"""Draw the house: rooms as boxes, imports between them as lines, and count both.

``python docs/draw_house.py`` draws the checkout as it stands to docs/images/house.png and prints the figures of
docs/explanation/architecture.md. ``--commit REV`` reads another commit, e.g. the one before the rooms were made;
``--out FILE`` says where the picture goes. Rooms are folders; what a system of its own (CXDP, SADP, APT) owns has its
colour, shared rooms are grey.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
STOREYS = ("services", "callbacks", "models", "sim")
SYSTEMS = {"cxdp": "#4c78a8", "sadp": "#e8923c", "apt": "#54a24b"}
SHARED = "#9a9a9a"
PACKAGE = "braggwatch"


@dataclass(frozen=True)
class House:
    """What was read of one commit.

    Attributes
    ----------
    lines
        Module, dotted below the package → its number of lines.
    imports
        Pairs (importer, imported) of modules, each once.
    """

    lines: dict[str, int]
    imports: frozenset[tuple[str, str]]

    def folder(self, module: str) -> str:
        """Return the folder of a module, e.g. ``services.page``."""
        return module if f"{module}.__init__" in self.lines else module.rpartition(".")[0]


def read_sources(commit: str | None) -> dict[str, str]:
    """Return path → text of every Python file of the four storeys, of the checkout or of a commit."""
    if commit is None:
        paths = [path for storey in STOREYS for path in sorted((ROOT / storey).rglob("*.py"))]
        return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    command = ["git", "archive", "--format=tar", commit, "--", *STOREYS]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603 - git, of arguments of our own
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            member.name: file.read().decode()
            for member in archive
            if member.name.endswith(".py") and (file := archive.extractfile(member)) is not None
        }


def read_house(sources: dict[str, str]) -> House:
    """Return modules and imports; ``from package import module`` counts as an import of the module."""
    trees = {".".join(PurePosixPath(name).with_suffix("").parts): ast.parse(text) for name, text in sources.items()}
    lines = {".".join(PurePosixPath(name).with_suffix("").parts): text.count("\n") for name, text in sources.items()}
    pairs: set[tuple[str, str]] = set()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            for target in imported(node, lines):
                pairs.add((module, target))
    return House(lines, frozenset(pairs))


def imported(node: ast.AST, modules: dict[str, int]) -> list[str]:
    """Return the modules of ours that a statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return []
    found: list[str] = []
    for name in names:
        if not name.startswith(PACKAGE + "."):
            continue
        inner = name.removeprefix(PACKAGE + ".")
        # the module itself, a package's own file, or the module that the name is taken from
        for candidate in (inner, f"{inner}.__init__", inner.rpartition(".")[0], f"{inner.rpartition('.')[0]}.__init__"):
            if candidate in modules:
                found.append(candidate)
                break
    return found


def folder_of(module: str) -> str:
    """Return the folder that a module lies in."""
    return module.rpartition(".")[0]


def system_of(folder: str) -> str | None:
    """Return which of the three systems owns a folder or module, None for what is shared."""
    return next((part for part in folder.split(".") if part in SYSTEMS), None)


def figures(house: House) -> dict[str, str]:
    """Return the figures of the page, by their names."""
    files = Counter(folder_of(module) for module in house.lines)
    longest = max(house.lines, key=lambda module: house.lines[module])
    crossing = [(folder_of(a), folder_of(b)) for a, b in house.imports if folder_of(a) != folder_of(b)]
    across = [(a, b) for a, b in house.imports if system_of(a) and system_of(b) and system_of(a) != system_of(b)]
    circles = {(a, b) for a, b in crossing if (b, a) in crossing and a < b and not f"{b}.".startswith(f"{a}.")}
    busiest, number = files.most_common(1)[0]
    return {
        "modules": str(len(house.lines)),
        "rooms (folders with code)": str(len(files)),
        "largest room": f"{busiest.replace('.', '/')}/, {number} files",
        "longest file": f"{longest.replace('.', '/')}.py, {house.lines[longest]} lines",
        "imports between modules": str(len(house.imports)),
        "imports across rooms": str(len(crossing)),
        "pairs of rooms that know each other": str(len(set(crossing))),
        "imports from one system into another": str(len(across)),
        "pairs of rooms, neither inside the other, that import each other": str(len(circles)),
    }


def draw(house: House, out: Path, title: str) -> None:
    """Draw each storey as a row of its rooms, one level deep, and the imports between rooms as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyBboxPatch, Rectangle

    def room(module: str) -> str:
        return ".".join(folder_of(module).split(".")[:2])

    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for module, number in house.lines.items():
        lines[room(module)] += number
        files[room(module)] += 1
    figure, axes = plt.subplots(figsize=(15, 10))
    centres: dict[str, tuple[float, float]] = {}
    for level, storey in enumerate(reversed(STOREYS)):
        rooms = sorted(name for name in lines if name.split(".")[0] == storey)
        widths = {name: 0.35 + (lines[name] / 1000) ** 0.5 * 0.55 for name in rooms}
        left, gap = 0.0, 0.12
        scale = 14.0 / (sum(widths.values()) + gap * len(rooms))
        axes.text(-0.25, level * 2.2 + 0.55, storey, ha="right", va="center", fontsize=14, weight="bold")
        for name in rooms:
            width = widths[name] * scale
            colour = SYSTEMS.get(system_of(name) or "", SHARED)
            axes.add_patch(
                FancyBboxPatch(
                    (left, level * 2.2), width, 1.1, boxstyle="round,pad=0.02", fc=colour, ec="black", lw=0.6, zorder=3
                )
            )
            label = name.partition(".")[2] or "(floor)"
            axes.text(
                left + width / 2,
                level * 2.2 + 0.55,
                f"{label}\n{files[name]} files\n{lines[name] / 1000:.1f}k lines",
                ha="center",
                va="center",
                fontsize=7.5,
                zorder=4,
                rotation=0 if width > 0.75 else 90,
            )
            centres[name] = (left + width / 2, level * 2.2 + 0.55)
            left += width + gap * scale
    between = Counter((room(a), room(b)) for a, b in house.imports if room(a) != room(b))
    for (source, target), count in between.items():
        (x0, y0), (x1, y1) = centres[source], centres[target]
        bend = 0.0 if y0 != y1 else -0.9
        middle = ((x0 + x1) / 2, (y0 + y1) / 2 + bend)
        width = 0.3 + 0.25 * count**0.5
        axes.plot((x0, middle[0], x1), (y0, middle[1], y1), color="#30506e", alpha=0.22, lw=width, zorder=1)
    axes.set_xlim(-2.0, 15.2)
    axes.set_ylim(-0.8, 8.4)
    axes.axis("off")
    axes.set_title(title, fontsize=14)
    handles = [Rectangle((0, 0), 1, 1, fc=colour) for colour in (*SYSTEMS.values(), SHARED)]
    axes.legend(handles, ["CXDP", "SADP", "APT", "shared"], loc="lower right", ncols=4, frameon=False)
    figure.savefig(out, dpi=80, bbox_inches="tight")


def main() -> None:
    """Read, count, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", help="a commit to read instead of the checkout")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "house.png", help="the picture's file")
    chosen = parser.parse_args()
    house = read_house(read_sources(chosen.commit))
    for name, value in figures(house).items():
        sys.stdout.write(f"| {name} | {value} |\n")
    draw(house, chosen.out, f"Braggwatch, {chosen.commit or 'as it stands'}")


if __name__ == "__main__":
    main()

"""Take the pictures of the documents from a real demo: the page in headless Chromium, the terminal as text.

The page is shown by the README, the terminal by the tutorial.

``make screenshot`` runs it; arguments go to ``braggwatch demo``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO
from urllib.request import urlopen

DOCS = Path(__file__).resolve().parent
TUTORIAL = DOCS / "tutorials" / "first-scan.md"
TERMINAL = re.compile(r"(<!-- terminal: .*? -->\n```text\n).*?(^```$)", re.MULTILINE | re.DOTALL)
SCANS = 14
COLUMNS = 100


def main() -> None:
    """Run the demo once, take both pictures and end it."""
    command = [sys.executable, "-m", "braggwatch.services.cli", "demo", "--scans", str(SCANS), *sys.argv[1:]]
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        try:
            url = _wait_for_the_end_of_the_scans(demo.stderr)
            model = _model_of(url)
            _photograph(url, DOCS / "images" / "page.png")
            demo.send_signal(signal.SIGINT)
            said, _ = demo.communicate(timeout=60)
        finally:
            demo.kill()
    table, _, summary = said.strip().rpartition("┘")
    lines = [*f"{table}┘".splitlines(), *summary.strip().splitlines(), f"(model {model})"]
    shown = "\n".join(line.rstrip() for line in lines)
    text = TERMINAL.sub(lambda match: f"{match[1]}{shown}\n{match[2]}", TUTORIAL.read_text(encoding="utf-8"))
    TUTORIAL.write_text(text, encoding="utf-8")


def _wait_for_the_end_of_the_scans(messages: IO[str] | None) -> str:
    url, heard = None, list[str]()
    for line in messages or ():
        heard.append(line)
        found = re.search(r"http://\S+", line)
        url = found[0] if found else url
        if url is not None and line.startswith("all scans done"):
            return url
    raise RuntimeError("the demo ended early: " + "".join(heard[-3:]))


def _model_of(url: str) -> str:
    with urlopen(f"{url}/status", timeout=10) as answer:  # noqa: S310 - the demo's own address
        return str(json.load(answer)["model_id"])


def _photograph(url: str, path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise RuntimeError("the picture needs Chromium (Debian: chromium)")
    path.parent.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 860}, color_scheme="light")
        page.goto(url)
        # Locators, not functions in the page: its security policy lets nobody evaluate code, us included.
        expect(page.locator("#runs tbody tr")).to_have_count(SCANS)
        # A defect says more than a perfect crystal; where there is none, the newest run is shown.
        defects = page.locator("#runs tbody tr", has=page.locator(".tag.k-screw, .tag.k-edge"))
        if defects.count():
            defects.first.click()
        expect(page.locator("#slices-note")).to_contain_text("voxel")
        page.wait_for_timeout(500)
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()

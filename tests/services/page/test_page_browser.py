"""The page in a real browser: what an operator sees, and that no name from outside can run as a script."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def rows(page) -> list[str]:
    return page.eval_on_selector_all("#runs tbody tr:not([hidden])", "rows => rows.map(r => r.dataset.uid)")


def test_a_verdict_appears_by_itself_and_is_shown(world, page, result_of):
    playwright_api.expect(page.locator("#empty")).to_be_visible()
    world.publish(result_of("run-1", "screw"))
    row = page.locator("#runs tbody tr")
    playwright_api.expect(row).to_have_count(1)
    playwright_api.expect(row.locator(".tag")).to_have_text("screw")
    playwright_api.expect(row).to_contain_text("S 90")
    playwright_api.expect(page.locator("#summary h2")).to_have_text("Scan 54")


def test_a_scan_that_goes_on_shows_what_is_said_so_far_until_its_record_comes(world, page, result_of, provisional_of):
    result, other = result_of("run-1", "perfect"), result_of("run-2", "edge", scan_id=55)
    in_progress = page.locator("#in-progress li")
    playwright_api.expect(in_progress).to_have_count(0)
    world.board.put(provisional_of(result))
    world.board.put(provisional_of(other))
    world.board.put(provisional_of(result, 52))
    playwright_api.expect(in_progress).to_have_count(2)
    line = page.locator("#in-progress li[data-uid='run-1']")
    playwright_api.expect(line).to_contain_text("scan 54")
    playwright_api.expect(line).to_contain_text("0.90 so far, 85 % of the frames")
    playwright_api.expect(line.locator(".tag")).to_contain_text("perfect")
    page.reload()
    playwright_api.expect(in_progress).to_have_count(2)
    world.publish(result)
    playwright_api.expect(in_progress).to_have_count(1)
    playwright_api.expect(page.locator("#runs tbody tr")).to_have_count(1)
    world.publish(other)
    playwright_api.expect(page.locator("#in-progress")).to_be_hidden()


def test_the_slices_are_drawn_bright_in_the_centre_and_dark_at_the_edge(world, page, result_of):
    world.publish(result_of("run-1"))
    playwright_api.expect(page.locator("#slices-note")).to_contain_text("voxel")
    colours = page.eval_on_selector_all(
        "canvas[data-slice]",
        """nodes => nodes.map(c => {
          const context = c.getContext('2d');
          const sum = (x, y) => context.getImageData(x, y, 1, 1).data.slice(0, 3).reduce((a, b) => a + b);
          const left = c === document.querySelector('canvas[data-slice]') ? 28 : 4;
          const side = c.height - 38;
          return [sum(left + side / 2, 18 + side / 2), sum(left + 5, 18 + 5)];
        })""",
    )
    assert len(colours) == 3
    for centre, corner in colours:
        assert centre > 500
        assert corner < 60
    assert page.locator("#rocking circle").count() == 61


def test_a_script_in_a_sample_name_stays_text(world, page, result_of):
    name = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    world.publish(result_of("run-1", None, sample=name, quality=None), arrays=False)
    playwright_api.expect(page.locator("#runs td.sample")).to_have_text(name)
    playwright_api.expect(page.locator("#summary")).to_contain_text(name)
    page.reload()
    playwright_api.expect(page.locator("#runs td.sample")).to_have_text(name)
    assert page.title() == "Braggwatch"
    assert page.locator("#runs img, #summary img, #map img").count() == 0


def test_keys_step_and_a_chip_filters(world, page, result_of):
    for n, label in enumerate(["perfect", "screw", "edge"]):
        world.publish(result_of(f"run-{n}", label, finished_at=1e9 + n), arrays=False)
    playwright_api.expect(page.locator("#runs tbody tr")).to_have_count(3)
    assert rows(page) == ["run-2", "run-1", "run-0"]
    page.keyboard.press("j")
    playwright_api.expect(page.locator("tr.selected")).to_have_attribute("data-uid", "run-1")
    assert not page.is_checked("#follow")
    page.keyboard.press("ArrowUp")
    playwright_api.expect(page.locator("tr.selected")).to_have_attribute("data-uid", "run-2")
    page.click("#counts .k-screw")
    playwright_api.expect(page.locator("#runs tbody tr[data-uid='run-2']")).to_be_hidden()
    assert rows(page) == ["run-1"]


def test_the_page_follows_the_newest_until_a_run_is_chosen(world, page, result_of):
    world.publish(result_of("run-0", finished_at=1e9))
    world.publish(result_of("run-1", finished_at=1e9 + 1))
    playwright_api.expect(page.locator("tr.selected")).to_have_attribute("data-uid", "run-1")
    page.click("tr[data-uid='run-0']")
    world.publish(result_of("run-2", finished_at=1e9 + 2))
    playwright_api.expect(page.locator("#runs tbody tr")).to_have_count(3)
    playwright_api.expect(page.locator("tr.selected")).to_have_attribute("data-uid", "run-0")


def test_the_map_tells_class_by_shape_and_the_unusual_by_a_ring(world, page, result_of):
    world.publish(result_of("run-0", "perfect"))
    strange = result_of("run-1", "edge", position={"x": 3.0, "y": 1.0})
    verdict = strange.verdict.model_copy(update={"ood_score": 20.0})
    world.publish(strange.model_copy(update={"verdict": verdict}))
    playwright_api.expect(page.locator("#map .spot")).to_have_count(2)
    playwright_api.expect(page.locator("#map .ring")).to_have_count(1)
    shapes = page.eval_on_selector_all("#map .mark", "marks => marks.map(m => m.getAttribute('d'))")
    assert len(set(shapes)) == 2


def test_the_header_tells_trouble(world, page):
    for part in ("model", "store"):
        world.health.ok(part)
    world.health.failed("stream", "not connected to tcp://127.0.0.1:5578")
    playwright_api.expect(page.locator("#notice")).to_contain_text("not connected")
    playwright_api.expect(page.locator(".chip.state")).to_contain_text("Not ready")

"""The report page in a browser: mouse, keyboard, touch, and hostile names."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from analysis.report import write_report
from study.record.events import StudyStateChanged
from study.record.metadata import ImageSetInfo
from tests.analysis.made_events import NAN, end, point, trial, with_groups

HOSTILE = "</script><img src=x onerror='window.hacked=1'><script>window.hacked=1</script>\u2028javascript:hacked=1"
# Without these, Chromium contacts update servers.
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FRONT = ".point[aria-label*='on the front of all points']"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on PATH: install Debian's package chromium to test the page in a browser")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*QUIET, *root])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_page(full_run: Path) -> Path:
    return write_report(full_run).page


class Watched:
    """A page with all that it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.opened: set[str] = set()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))

    def open(self, path: Path, fragment: str = "") -> Page:
        self.opened.add(path.as_uri())
        self.page.goto(f"{path.as_uri()}{fragment}")
        return self.page


@pytest.fixture
def watched(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A new page, 1280 px wide or as the test's parameter says; it must have been quiet in the end."""
    width = getattr(request, "param", 1280)
    context = browser.new_context(viewport={"width": width, "height": 800}, has_touch=width < 500)
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []
    assert {url.partition("#")[0] for url in watched.requests if not url.startswith("data:")} == watched.opened


def middle(page: Page, label: str) -> tuple[float, float]:
    box = page.locator(f".point[aria-label^='{label},']").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_pointing_shows_a_card_and_clicking_pins(watched: Watched, report_page: Path):
    page = watched.open(report_page)
    page.locator("#chart-stage > svg").scroll_into_view_if_needed()
    x, y = middle(page, "trial 1 at iteration 400")
    page.mouse.move(x + 5, y)
    card = page.locator(".card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("trial 1 at iteration 400")
    expect(card).to_contain_text("COMPLETE")
    expect(card).to_contain_text("ssim_y")
    expect(card).to_contain_text("pixel")
    assert card.locator("img").count() == 2
    page.mouse.move(x + 5, y + 200)
    expect(card).to_be_hidden()
    page.mouse.click(x, y)
    pinned = page.locator("article.pinned")
    expect(pinned).to_have_count(1)
    assert pinned.locator("img").count() == 6  # each of three images, beside HR
    assert page.url.endswith("#pin=t1.400")
    expect(page.locator("#chart-status")).to_have_text("Pinned: trial 1 at iteration 400. 1 point is pinned.")
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    page.get_by_role("button", name="Unpin trial 1 at iteration 400").click()
    expect(page.locator("#pinned")).to_be_hidden()
    assert "#" not in page.url


def test_the_keyboard_reaches_pins_and_leaves(watched: Watched, report_page: Path):
    page = watched.open(report_page)
    assert page.locator(".point[tabindex='0']").count() == 1
    page.get_by_label("only the region of the fronts").focus()
    page.keyboard.press("Tab")
    focused = page.locator(".point:focus")
    expect(focused).to_have_count(1)
    seen = [focused.get_attribute("aria-label")]
    for _ in range(page.locator(FRONT).count() - 1):
        page.keyboard.press("ArrowRight")
        seen.append(focused.get_attribute("aria-label"))
    assert len(set(seen)) == page.locator(FRONT).count() == 14
    assert all("on the front of all points" in str(label) for label in seen)
    assert str(seen[-1]).startswith("fidelity generator")
    expect(page.locator(".card")).to_contain_text("fidelity generator")
    page.keyboard.press("Enter")
    expect(focused).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowUp")  # through all points, not the front alone
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("article.pinned")).to_have_count(3)
    expect(page.locator("article.pinned .differs").first).to_contain_text("(differs)")
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_be_hidden()
    expect(focused).to_have_count(1)
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Unpin all").press("Enter")
    expect(page.locator("article.pinned")).to_have_count(0)


def test_a_link_brings_pins_back_and_survives_nonsense(watched: Watched, report_page: Path):
    page = watched.open(report_page, "#pin=t1.400,t2.400,t999.1,__proto__,constructor&by=length&not=x")
    expect(page.locator("article.pinned h4")).to_have_text(["1 trial 1 at iteration 400", "2 trial 2 at iteration 400"])
    expect(page.locator("#pinned")).to_contain_text("3 of the pinned points have no details in this page.")
    assert page.locator("article.pinned img").count() == 12  # of each of the two, three images beside HR
    page.evaluate("location.hash = '#pin=<img src=x onerror=alert(1)>'")
    expect(page.locator("#pinned")).to_be_hidden()
    assert page.locator("article.pinned").count() == 0
    assert page.locator("img[onerror]").count() == 0
    assert watched.complaints == []


def test_choices_change_what_is_shown(watched: Watched, report_page: Path):
    page = watched.open(report_page)
    colours = "[...document.querySelectorAll('.group-front')].map((line) => line.getAttribute('stroke'))"
    assert len(page.evaluate(colours)) == 4  # two groups, each in the chart and in the legend
    page.get_by_label("Colour by").select_option("bottleneck channels")
    assert len(page.evaluate(colours)) == 6
    every = page.locator(".point").count()
    page.get_by_label("points off the front").uncheck()
    assert 14 < page.locator(".point").count() < every
    page.get_by_label("only the region of the fronts").check()
    assert page.locator(".point[aria-label^='bicubic']").count() == 0


@pytest.mark.parametrize("watched", [375], indirect=True)
def test_a_phone_shows_all_without_scrolling_sideways(watched: Watched, report_page: Path):
    page = watched.open(report_page)
    page.locator("#chart-stage > svg").scroll_into_view_if_needed()
    x, y = middle(page, "fidelity generator")
    page.touchscreen.tap(x, y)
    expect(page.locator(".card")).to_contain_text("fidelity generator")
    expect(page.locator("article.pinned")).to_have_count(0)
    page.touchscreen.tap(x, y)
    expect(page.locator("article.pinned")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.set_viewport_size({"width": 320, "height": 700})
    expect(page.locator("#chart-stage > svg")).to_have_attribute("viewBox", "0 0 280 300")
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_paper_shows_chart_and_pins_without_controls(watched: Watched, report_page: Path):
    page = watched.open(report_page, "#pin=t1.400")
    page.emulate_media(media="print", reduced_motion="reduce")
    for hidden in ("#chart-controls", ".card", "#chart-help"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.get_by_role("button", name="Unpin", exact=False)).to_have_count(0)
    expect(page.locator("#chart-stage > svg")).to_be_visible()
    expect(page.locator("article.pinned")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).animationName") == "none"


def test_headings_and_landmarks_are_in_order(watched: Watched, report_page: Path):
    page = watched.open(report_page, "#pin=t1.400")
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((head) => Number(head.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("main").count() == page.locator("header").count() == 1
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("img:not([alt])").count() == 0


def test_hostile_names_are_text_and_execute_nothing(watched: Watched, write_run, metadata):
    images = {part: ImageSetInfo(HOSTILE, HOSTILE, (HOSTILE,)) for part in ("train", "val")}
    field = HOSTILE.replace(".", "")  # a journal's fields have no dot, and its metrics are words
    study = with_groups(metadata, "loss.guidance", f"loss.{field}")
    study = replace(study, name=HOSTILE, notes=(HOSTILE,), images=images)
    loss = {"guidance": HOSTILE, field: HOSTILE, "__proto__": "polluted"}
    begun = trial(0, {"loss": loss}, {f"loss.{field}": HOSTILE})
    odd = point(0, 1, 25.0, 30.0, samples=HOSTILE, __proto__=2.0)
    page = watched.open(write_report(write_run(study, [begun, odd, end(0, "PRUNED", HOSTILE)])).page)
    page.locator(".point[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("article.pinned")).to_contain_text("<script>window.hacked=1</script>")
    expect(page.locator("article.pinned")).to_contain_text("No crops of this point in this page.")
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x], script').length]") == [None, 2]


def test_the_policy_stops_what_would_break_out(browser: Browser, report_page: Path):
    watched = Watched(browser.new_page())
    page = watched.open(report_page)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.hacked = 1");
            image.src = "data:image/png;base64,AAAA";
            document.body.append(script, image);
        }"""
    )
    page.wait_for_timeout(50)
    assert page.evaluate("window.hacked") is None
    assert all("Content Security Policy" in text for text in watched.complaints)
    assert len(watched.complaints) == 2
    page.close()


@pytest.mark.parametrize(
    "points",
    [[], [("FAILED", 25.0, 30.0)], [("COMPLETE", 25.0, 30.0)], [("COMPLETE", NAN, 30.0)]],
    ids=["empty", "failures", "one", "nan"],
)
def test_studies_with_little_in_them_open_quietly(watched: Watched, write_run, metadata, points):
    events = []
    for number, (state, psnr, swd) in enumerate(points):
        events += [point(number, 1, psnr, swd), end(number, state)]
    page = watched.open(write_report(write_run(metadata, events)).page)
    expect(page.get_by_text("No sample crops were found.")).to_be_visible()
    alone = bool(points) and points[0] == ("COMPLETE", 25.0, 30.0)
    assert page.locator(".point").count() == alone
    if alone:
        page.locator(".point").click()
        expect(page.locator("article.pinned")).to_contain_text("No crops of this point in this page.")


def test_the_page_of_a_running_study_reloads_and_keeps_pins(watched: Watched, write_run, metadata):
    events = [point(0, 1, 25.0, 30.0)]
    run = write_run(metadata, events)
    page = watched.open(write_report(run, reload_seconds=1).page)
    page.locator(".point").click()
    page.get_by_label("Colour by").select_option("patch")
    page.get_by_label("points off the front").uncheck()
    page.keyboard.press("Escape")
    write_run(metadata, [*events, StudyStateChanged(state="COMPLETE")])
    write_report(run, reload_seconds=1)
    expect(page.get_by_text("still running")).to_have_count(0)
    expect(page.locator("article.pinned")).to_have_count(1)
    expect(page.get_by_label("Colour by")).to_have_value("2")
    expect(page.get_by_label("points off the front")).not_to_be_checked()
    assert page.url.endswith("#pin=t0.1&by=2&not=off")

"""The report in a real browser: nothing fetched, no complaint, all drawn, readable, printable."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from medmeta.app.report.page import render_report
from tests.app.report._trusted import trusted_content

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WIDTHS = (1280, 400)
PRINTED = 695, 1020  # CSS pixels of A4 inside the page's margins
SMALLEST = 8.5  # CSS pixels of any text on the screen

DECODED = """async () => {
  const drawn = [...document.querySelectorAll("symbol > image")].map(async (image) => {
    const copy = new Image();
    copy.src = image.getAttribute("href");
    await copy.decode();
    return copy.naturalWidth > 0;
  });
  return (await Promise.all(drawn)).filter(Boolean).length;
}"""
SHOWN = """() => [...document.querySelectorAll("main .thumb")].map((thumb) => {
  const box = thumb.getBoundingClientRect();
  const key = thumb.querySelector("use").getAttribute("href").slice(1);
  return box.width > 30 && box.height > 30 && document.getElementById(key) !== null;
})"""
TEXTS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement, text = node.textContent.trim();
    if (!text || parent.closest("title, style, .away")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const svg = parent.closest("svg");
    const scale = svg && svg.viewBox.baseVal && svg.viewBox.baseVal.width
      ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const size = parseFloat(getComputedStyle(parent).fontSize) * scale;
    found.push({text: text.slice(0, 40), size: size,
      left: box.left + scrollX, right: box.right + scrollX,
      scrolled: parent.closest(".scroll") !== null});
  }
  return found;
}"""

playwright = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra dev")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on the PATH")


@dataclass
class Heard:
    """What a page asked for and complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module", params=["en", "zh"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    content = trusted_content(n_query=200, language=request.param)
    file.write_text(render_report(content), encoding="utf-8")
    return file


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page()
    yield opened
    opened.close()


def opened(page: Any, file: Path, width: int = 1280) -> Heard:
    """Open a file at a width, and listen."""
    heard = Heard()
    page.on("request", lambda request: heard.requests.append(request.url))
    page.on("console", lambda message: heard.complaints.append(message.text))
    page.on("pageerror", lambda error: heard.complaints.append(str(error)))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri(), wait_until="load")
    return heard


def sticking_out(page: Any, width: int) -> list[str]:
    """Texts that leave the page, but for those in tables that scroll by themselves."""
    return [
        text["text"]
        for text in page.evaluate(TEXTS)
        if not text["scrolled"] and (text["left"] < -1 or text["right"] > width + 1)
    ]


def test_it_asks_for_nothing_and_complains_of_nothing(page: Any, report: Path) -> None:
    heard = opened(page, report)
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    away = [url for url in heard.requests if url != report.as_uri() and not url.startswith("data:")]
    assert away == []
    assert heard.complaints == []


def test_a_request_and_a_complaint_would_be_heard(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "noisy.html"
    file.write_text("<script>console.error('heard')</script><img src='gone.png'>")
    heard = opened(page, file)
    assert any("heard" in text for text in heard.complaints)
    assert any(url.endswith("gone.png") for url in heard.requests)


def test_every_picture_is_drawn(page: Any, report: Path) -> None:
    opened(page, report)
    pictures = page.locator("symbol > image").count()
    assert pictures > 40
    assert page.evaluate(DECODED) == pictures
    shown = page.evaluate(SHOWN)
    assert len(shown) > 60
    assert all(shown)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read(page: Any, report: Path, width: int) -> None:
    opened(page, report, width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    small = [text for text in page.evaluate(TEXTS) if text["size"] < SMALLEST]
    assert small == []
    assert sticking_out(page, width) == []


def test_links_lead_to_what_they_name(page: Any, report: Path) -> None:
    opened(page, report)
    page.click("nav a[href='#checklist']")
    top = page.evaluate("() => document.getElementById('checklist').getBoundingClientRect().top")
    assert top < 900


def test_it_prints_with_the_summary_on_a_page_of_its_own(page: Any, report: Path) -> None:
    opened(page, report)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PRINTED[0], "height": PRINTED[1]})
    foot = page.evaluate("() => document.getElementById('summary').getBoundingClientRect().bottom")
    assert foot + page.evaluate("() => scrollY") <= PRINTED[1]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PRINTED[0]
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
    assert 6 <= pages <= 30

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medmeta.app.report.page import render_report
from tests.app.report._example import example_content

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
]
# The page forbids scripts; the copy that is measured must not.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = """<script>addEventListener("load", () => {
  const box = document.createElement("iframe");
  box.style.cssText = "width:%dpx;height:900px;border:0";
  box.onload = () => {
    const page = box.contentDocument.documentElement;
    const drawn = [...box.contentDocument.querySelectorAll(".thumb")];
    document.title = [page.scrollWidth, page.clientWidth,
      drawn.filter((d) => d.getBoundingClientRect().width > 30).length, drawn.length].join(" ");
  };
  box.srcdoc = document.getElementById("page").textContent;
  document.body.append(box);
});</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on the PATH")


def chromium(page: Path, *flags: str, profile: Path) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def measured(text: str, folder: Path, width: int) -> list[int]:
    """What the page needs, what it has, thumbnails drawn and all, at a width of the window.

    A frame has any width, where a window has the browser's least one.
    """
    inner = html.escape(POLICY.sub("", text))
    page = folder / "measure.html"
    page.write_text(f'<textarea id="page" hidden>{inner}</textarea>{MEASURE % width}')
    flags = ("--dump-dom", "--virtual-time-budget=10000", "--window-size=1400,900")
    dom = chromium(page, *flags, profile=folder / "profile").stdout
    title = re.search(r"<title>([\d ]+)</title>", dom)
    assert title is not None
    return [int(word) for word in title[1].split()]


@pytest.mark.parametrize(
    "names",
    [
        ("benign", "malignant", "normal", "other"),
        tuple(f"{k} {'a long name ' * 4}{'x' * 60}" for k in range(30)),
    ],
    ids=["four classes", "thirty long names"],
)
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(names: tuple[str, ...], width: int, tmp_path: Path) -> None:
    text = render_report(example_content(n_classes=len(names), names=names, n_shot=2))
    needed, has, drawn, thumbnails = measured(text, tmp_path, width)
    assert has == width
    assert needed <= width
    assert drawn == thumbnails > 0


def test_the_browser_reads_it_without_complaint(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(example_content()), encoding="utf-8")
    done = chromium(page, "--dump-dom", profile=tmp_path / "profile")
    assert not re.search(r"(?<![\w.])(?:https?:)?//[\w.-]+\.\w", done.stdout)
    headings = re.findall(r"<h2>(.*?)</h2>", done.stdout)
    assert headings[0] == "In short"
    assert headings[-1] == "Words used"
    assert len(headings) == 12
    assert "CONSOLE" not in done.stderr


def test_a_console_message_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "noisy.html"
    page.write_text("<script>console.error('heard')</script>")
    done = chromium(page, "--dump-dom", profile=tmp_path / "profile")
    assert "CONSOLE" in done.stderr
    assert "heard" in done.stderr


def test_it_prints(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(example_content()), encoding="utf-8")
    sheet = tmp_path / "report.pdf"
    chromium(page, f"--print-to-pdf={sheet}", "--no-pdf-header-footer", profile=tmp_path / "p")
    pages = len(re.findall(rb"/Type\s*/Page\b", sheet.read_bytes()))
    assert 4 <= pages <= 16

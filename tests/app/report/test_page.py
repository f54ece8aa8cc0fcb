from __future__ import annotations

import math
import re
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from medmeta.app.report.cards import Thumbnails, card_groups
from medmeta.app.report.content import ReportContent
from medmeta.app.report.figures import marker
from medmeta.app.report.numbers import query_figures
from medmeta.app.report.page import render_report, write_report
from medmeta.errors import DataError, StorageError
from tests.app.report._example import example_content, example_evaluation

VOID = {"meta", "br", "image", "use", "link", "img", "wbr"}
SECTIONS = [
    "summary",
    "data",
    "tested",
    "results",
    "calibration",
    "map",
    "gallery",
    "answers",
    "training",
    "provenance",
    "checklist",
    "words",
]


class Page(HTMLParser):
    """Checks that tags nest, and gathers what tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.unscoped = 0
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags[tag] += 1
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "section":
            self.sections.append(values["id"])
        if tag == "th" and "scope" not in values:
            self.unscoped += 1
        if tag == "svg":
            assert values.get("aria-hidden") or values.get("aria-label") or "div" in self.open
        self.references += [values[name] for name in ("href", "src") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag == "li" or tag == "p" or tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_invalid_probabilities_count_as_wrong() -> None:
    content = example_content()
    assert content.query is not None
    whole = query_figures(content.query, content.class_names)
    right = np.flatnonzero(content.query.probabilities.argmax(1) == content.query.labels)
    broken = content.query.probabilities.copy()
    broken[right[:2]] = math.nan
    query = replace(content.query, probabilities=broken)
    figures = query_figures(query, content.class_names)
    assert whole is not None
    assert figures is not None
    assert figures.accuracy.count == whole.accuracy.count - 2
    assert figures.accuracy.n == whole.accuracy.n
    assert figures.confusion[:, -1].sum() == figures.unanswered == 2
    page = Page(render_report(replace(content, query=query)))
    assert "2 query images got no valid answer" in words(page)
    assert "no answer" in page.text


def test_sections_come_in_order_and_absent_ones_are_left_out() -> None:
    assert Page(render_report(example_content())).sections == SECTIONS
    bare = ReportContent("Bare", "ridge", ("a", "b"))
    assert Page(render_report(bare)).sections == ["summary", "checklist", "words"]
    only_query = replace(example_content(), support=None, evaluations=(), curve=())
    assert Page(render_report(only_query)).sections == [
        "summary",
        "data",
        "results",
        "calibration",
        "map",
        "answers",
        "provenance",
        "checklist",
        "words",
    ]
    only_support = replace(example_content(), query=None)
    assert Page(render_report(only_support)).sections == [
        s for s in SECTIONS if s not in ("results", "calibration", "answers")
    ]


def test_summary_says_it_in_plain_words() -> None:
    content = example_content()
    assert content.query is not None
    text = words(Page(render_report(content)))
    right = int((content.query.probabilities.argmax(1) == content.query.labels).sum())
    ends = binomtest(right, 60).proportion_ci(0.95, method="wilson")
    assert "4 classes: kind 0, kind 1, kind 2, kind 3." in text
    assert "5 labelled images per class, 20 in all." in text
    assert f"{right} of 60 right: {100 * right / 60:.0f} %" in text
    assert f"(95 % interval {100 * ends.low:.0f}–{100 * ends.high:.0f} %)" in text
    assert "72.0 % on hospital B (95 % interval 71.0–73.0 %; 600 tasks; new classes)" in text
    assert "The patients are not known." in text
    assert "not a medical device" in text
    assert "classes left out, too few images: rare (1)" in text


def test_nothing_is_fetched_and_all_references_resolve() -> None:
    html = render_report(example_content())
    page = Page(html)
    assert len(set(page.ids)) == len(page.ids)
    inside = {f"#{i}" for i in page.ids}
    assert all(r in inside or r.startswith("data:image/png;") for r in page.references)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", html)
    assert page.unscoped == 0
    assert page.tags["title"] > 1
    assert '<html lang="en-GB">' in html


def test_what_users_wrote_is_escaped() -> None:
    evil = "<script>alert('x')</script>\" onload=\"alert(1)"
    content = example_content(names=(evil, "b & c", "x" * 300, "ü"))
    assert content.support is not None
    assert content.query is not None
    content = replace(
        content,
        title=evil,
        learner=evil,
        evaluations=(example_evaluation(evil),),
        training_sources=({evil: evil},),
        data_notes=(evil,),
        warnings=(evil,),
        provenance={evil: evil},
        support=replace(content.support, names=(evil,) * 20),
        query=replace(content.query, names=(evil,) * 60),
    )
    html = render_report(content)
    page = Page(html)
    assert page.tags["script"] == 0
    assert '" onload' not in html
    assert "&lt;script&gt;" in html
    assert "b &amp; c" in html


@pytest.mark.parametrize(
    ("n_classes", "n_shot", "channels"), [(2, 1, 1), (30, 1, 3), (11, 2, 2), (3, 20, 4)]
)
def test_any_shape_of_task(n_classes: int, n_shot: int, channels: int) -> None:
    page = Page(
        render_report(example_content(n_classes=n_classes, n_shot=n_shot, channels=channels))
    )
    assert page.sections == SECTIONS
    assert len({marker(k) for k in range(n_classes)}) == n_classes


def test_unknown_labels_are_listed_least_certain_first() -> None:
    content = example_content(known=False)
    page = Page(render_report(content))
    assert "results" not in page.sections
    assert "how many answers are right cannot be said" in words(page)
    (group,) = card_groups(content, Thumbnails())
    confidence = [card.confidence for card in group.cards]
    assert confidence == sorted(confidence)
    assert len(confidence) == 60
    assert all(card.truth is None and card.right is None for card in group.cards)


def test_a_simpler_method_that_does_as_well_is_named() -> None:
    content = replace(example_content(), evaluations=(example_evaluation(low=0.58),))
    text = words(Page(render_report(content)))
    assert "72.0 % against 60.0 % by ridge on raw pixels" in text
    assert "not clearly better" not in words(Page(render_report(example_content())))


def test_missing_figures_are_dashes() -> None:
    nothing: dict[str, Any] = dict.fromkeys(("mean", "low", "high", "spread", "worst_tenth"))
    content = replace(
        example_content(),
        evaluations=(example_evaluation(**nothing),),
        curve=[{"step": 1, "loss": None}, {"step": 2, "loss": math.nan}, {"step": 3}],
        training_sources=({"name": "a", "patients": math.nan}, {"sites": ["x", "y"]}),
    )
    page = Page(render_report(content))
    assert "training" not in page.sections
    assert not re.search(r"\b(nan|None)\b", page.text)
    assert "x, y" in page.text


def test_size_and_time_for_200_images() -> None:
    content = example_content(n_query=200, known=False)
    began = time.process_time()
    html = render_report(content)
    assert time.process_time() - began < 5
    assert len(html.encode()) < 6e6


def test_same_content_same_page() -> None:
    assert render_report(example_content()) == render_report(example_content())


def test_what_does_not_belong_together_is_refused() -> None:
    content = example_content()
    assert content.query is not None
    assert content.support is not None
    with pytest.raises(DataError, match="labels run from 0 to 3, but there are 3 class names"):
        render_report(replace(content, class_names=("a", "b", "c")))
    with pytest.raises(DataError, match="one of each per image"):
        render_report(replace(content, support=replace(content.support, names=("a",))))
    lost = replace(content.query, probabilities=content.query.probabilities[:, :2])
    with pytest.raises(DataError, match=r"probabilities have shape \(60, 2\)"):
        render_report(replace(content, query=lost))


def test_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, example_content())
    assert path.read_text(encoding="utf-8") == render_report(example_content())
    with pytest.raises(StorageError):
        write_report(path / "below", example_content())

"""The sections that carry trust, in both languages."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest

from medmeta.app.report.page import render_report
from medmeta.errors import DataError, UnknownNameError
from medmeta.trust.results import Estimate, Figure, Trust
from tests.app.report._trusted import trusted_content
from tests.app.report.test_page import Page, words

ALL = [
    "summary",
    "data",
    "tested",
    "trust",
    "results",
    "calibration",
    "sets",
    "novelty",
    "explanation",
    "map",
    "gallery",
    "answers",
    "subgroups",
    "training",
    "provenance",
    "checklist",
    "words",
]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_sections_are_there_and_links_lead_somewhere(language: str) -> None:
    page = Page(render_report(trusted_content(language=language)))
    assert page.sections == ALL
    inside = {f"#{i}" for i in page.ids}
    assert all(r in inside or r.startswith("data:image/png;") for r in page.references)
    assert not re.search(r"\b(nan|None)\b", page.text)
    assert page.unscoped == 0


def test_the_first_page_says_how_well_and_when_not() -> None:
    text = words(Page(render_report(trusted_content(enough=False))))
    assert "75 % of its answers are right on images like the labelled ones" in text
    assert "(95 % interval 60–86 %)" in text
    assert "Too few to say. The interval is too wide" in text
    assert "about 64 labelled images in all" in text
    assert "no guarantee possible with 5 images per class" in text
    assert "flagged as unlike the labelled ones (3 of 60 here)" in text
    assert "They are of 12 patients." in text


def test_the_shortcut_alarm_stands_before_all_else() -> None:
    html = render_report(trusted_content())
    assert html.index("the border gives 90 %") < html.index("<dl>")
    assert "the border gives 90 %" not in render_report(trusted_content(alarm=False))


def test_no_better_than_guessing_is_said() -> None:
    content = trusted_content()
    assert content.trust is not None
    chance = Figure(0.3, 0.2, 0.4)
    low = replace(content.trust.estimate, figures={"accuracy": chance})
    text = words(Page(render_report(replace(content, trust=replace(content.trust, estimate=low)))))
    assert "not clearly better than guessing" in text
    assert "not clearly better than guessing" not in words(Page(render_report(content)))


def test_no_figure_from_nothing() -> None:
    why = "class rare has one image, and none can be held out"
    content = replace(
        trusted_content(), trust=Trust(Estimate(4, 4, False, 0.25, reason=why)), query=None,
        explanation=None,
    )  # fmt: skip
    text = words(Page(render_report(content)))
    assert text.count(why) == 2
    assert "of its answers are right" not in text
    assert "not calibrated on this task" in text


def test_sets_and_flags_stand_on_the_cards() -> None:
    content = trusted_content()
    assert content.query is not None
    text = words(Page(render_report(content)))
    one = int((content.query.sets.sum(1) == 1).sum())
    assert f"On the images asked, at 90 %: {one} with one class" in text
    inside = content.query.sets[np.arange(60), content.query.labels].sum()
    assert f"held the true class in {100 * inside / 60:.0f} %" in text
    novel = replace(content.query, novelty=("no support image is near it",) * 60)
    text = words(Page(render_report(replace(content, query=novel))))
    assert "unlike the labelled images: no support image is near it" in text
    assert "60 of 60 images are flagged" in text


def test_maps_that_are_no_better_than_random_are_not_praised() -> None:
    content = trusted_content()
    assert content.explanation is not None
    worse = replace(content.explanation, insertion=0.4, correlation=0.9)
    text = words(Page(render_report(replace(content, explanation=worse))))
    assert "not better than random" in text
    assert "hardly change" in text


def test_chinese_has_no_english_sentences() -> None:
    content = replace(trusted_content(language="zh"), warnings=(), data_notes=())
    assert content.trust is not None
    content = replace(content, trust=replace(content.trust, notes=()))
    page = Page(render_report(content))
    assert '<html lang="zh-CN">' in render_report(content)
    own = r"kinds?|cells|labelled|hospital|blood|Prototypical|border|gives|Four|Tejani|Collins"
    own += r"|Radiology|Artificial|Intelligence|TRIPOD|CLAIM|AUROC|Fleiss|kappa|Brier|medmeta|held"
    own += r"|Networks|conv|conv4|rare|image|seed|north|shot|SHA|BMJ"
    left = [word for word in re.findall(r"[A-Za-z]{4,}", page.text) if not re.fullmatch(own, word)]
    assert left == []


def test_200_predictions_in_time_and_size() -> None:
    content = trusted_content(n_query=200)
    began = time.process_time()
    text = render_report(content)
    assert time.process_time() - began < 8
    assert len(text.encode()) < 10e6


def test_what_does_not_fit_is_refused() -> None:
    content = trusted_content()
    assert content.query is not None
    with pytest.raises(DataError, match="one row per query image"):
        render_report(replace(content, query=replace(content.query, sets=np.ones((3, 4), bool))))
    with pytest.raises(DataError, match="1 reasons of novelty for 60"):
        render_report(replace(content, query=replace(content.query, novelty=("a",))))
    with pytest.raises(UnknownNameError, match="Known: en, zh"):
        render_report(replace(content, language="xx"))

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from medmeta.app.report.page import TEMPLATES
from medmeta.app.report.words import LANGUAGES, Words, check_language
from medmeta.errors import UnknownNameError
from medmeta.trust.conformal import guarantee
from medmeta.trust.folds import cannot_fold
from medmeta.trust.novelty import ALL_REASONS

OWN = ("said", "patterns", "glossary")  # each language has its own entries


def braces(text: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text if isinstance(text, str) else " ".join(text)))


def tags(text: Any) -> list[str]:
    return sorted(re.findall(r"</?\w+", text if isinstance(text, str) else " ".join(text)))


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_every_language_has_all_texts_with_the_same_places_and_tags(language: str) -> None:
    english, other = Words("en"), Words(language)
    for section in english._catalogue:
        texts, others = english.section(section), other.section(section)
        if section in OWN:
            continue
        assert texts.keys() == others.keys(), section
        for name, text in texts.items():
            assert braces(text) == braces(others[name]), (section, name)
            assert tags(text) == tags(others[name]), (section, name)
    assert len(english.section("glossary")) == len(other.section("glossary"))


def test_templates_name_texts_that_are_there_and_hold_none_themselves() -> None:
    words = Words("en")
    for template in TEMPLATES.glob("*.j2"):
        text = template.read_text(encoding="utf-8")
        for section, name in re.findall(r"t\('(\w+)\.(\w+)'", text):
            assert name in words.section(section), (template.name, section, name)
        bare = re.sub(r"\{[{%].*?[}%]\}", "", text, flags=re.S)
        bare = re.sub(r"<style>.*?</style>|<[^>]*>", "", bare, flags=re.S)
        assert not re.findall(r"[A-Za-z]{4,}", bare), template.name


def test_what_is_put_in_is_escaped() -> None:
    assert "&lt;b&gt;" in Words("en")("answers.answer", name="<b>")
    assert "<b>" in Words("en")("answers.answer", name="x")


def test_sentences_of_other_parts_are_known_in_chinese() -> None:
    words = Words("zh")
    for reason in ALL_REASONS[1:]:
        assert words.said(reason) != reason
    for counts, per_class in (([5, 5], True), ([2, 2], False), ([30, 30], True), ([30, 30], False)):
        for unit in ("images", "patients"):
            text = guarantee(counts, 0.9, folds=5, per_class=per_class, unit=unit)
            told = words.said(text)
            assert not re.search("[a-z]{3}", told)
            assert "90" in told
    assert words.said("exact binomial, 12 patients") == "精确二项\uff0c12 名患者"
    for labels, groups in (([0, 0, 1], [0, 1, 2]), ([0, 0, 1, 1], [0, 1, 2, 2])):
        why = cannot_fold(np.array(labels), np.array(groups), ("甲", "乙"))
        assert why
        assert not re.search("[a-z]{3}", words.said(why))
    assert words.said("something new") == "something new"


def test_another_language_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no language of reports called 'fr'"):
        check_language("fr")

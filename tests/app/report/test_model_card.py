from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmeta.app.report.model_card import model_card, write_model_card
from tests.app.report._example import example_content
from tests.app.report._trusted import trusted_content


def test_it_says_what_the_page_says() -> None:
    content = trusted_content()
    card = model_card(content)
    assert content.query is not None
    answers = content.query.probabilities.argmax(1)
    right = int((answers == content.query.labels).sum())
    asked = card["metrics"]["asked"]
    assert (asked["accuracy"]["count"], asked["accuracy"]["n"]) == (right, 60)
    assert sum(map(sum, asked["confusion"])) == 60
    assert asked["flagged_as_novel"] == 3
    assert card["metrics"]["this_task"]["estimate"]["needed"] == 64
    assert card["explanation"]["deletion_area"] == 0.31
    assert card["model_details"]["classes"] == list(content.class_names)
    assert card["checklists"]["claim"]["34"] == {"answered": "no", "where": []}
    assert card["data"]["per_class"][0]["support"] == 5
    assert "A note of the trust pass." in card["caveats"]


def test_it_is_strict_json_in_any_language(tmp_path: Path) -> None:
    content = replace(trusted_content(language="zh"), warnings=("注意 ü",))
    assert content.query is not None
    broken = np.full_like(content.query.probabilities, math.nan)
    content = replace(content, query=replace(content.query, probabilities=broken))
    write_model_card(tmp_path / "card.json", content)

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    text = (tmp_path / "card.json").read_text(encoding="utf-8")
    card = json.loads(text, parse_constant=refuse)
    assert card["language"] == "zh-CN"
    assert card["metrics"]["asked"]["auroc"] is None
    assert card["metrics"]["asked"]["unanswered"] == 60
    assert card["caveats"][0] == "注意 ü"


def test_what_is_not_there_is_null() -> None:
    card = model_card(replace(example_content(), query=None))
    assert card["metrics"]["asked"] is None
    assert card["metrics"]["this_task"] is None
    assert card["explanation"] is None

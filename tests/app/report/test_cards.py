from __future__ import annotations

import numpy as np

from medmeta.app.report.cards import MAX_WRONG, Thumbnails, card_groups
from medmeta.app.report.numbers import answers_of
from tests.app.report._example import example_content


def test_wrong_answers_come_first_and_the_most_confident_of_them() -> None:
    content = example_content(n_query=200)
    assert content.query is not None
    answers, confidence = answers_of(content.query)
    is_wrong = answers != content.query.labels
    thumbnails = Thumbnails()
    wrong, right = card_groups(content, thumbnails)
    assert (wrong.kind, right.kind) == ("wrong", "right")
    assert wrong.total == is_wrong.sum() > MAX_WRONG
    shown = [card.confidence for card in wrong.cards]
    assert shown == sorted(confidence[is_wrong], reverse=True)[:MAX_WRONG]
    ends = sorted(confidence[~is_wrong])
    assert [card.confidence for card in right.cards] == ends[:6] + ends[-6:]
    first = wrong.cards[0]
    assert any(bar.true for bar in first.bars)
    row = content.query.names.index(first.name)
    assert first.neighbours[0].similarity == content.query.similarity[row, 0]
    keys = {picture.key for picture in thumbnails.pictures}
    assert len(keys) == len(thumbnails.pictures) <= MAX_WRONG + 12 + 20


def test_an_image_is_embedded_once() -> None:
    thumbnails = Thumbnails()
    pixels = np.zeros((1, 64, 200), dtype=np.uint8)
    assert thumbnails.add(pixels) == thumbnails.add(pixels.copy())
    assert [(p.width, p.height) for p in thumbnails.pictures] == [(96, 31)]

from __future__ import annotations

from dataclasses import replace

import pytest

from medmeta.app.report.evaluations import evaluation_rows, matching_rows
from medmeta.app.report.words import Words
from tests.app.report._example import example_evaluation


def test_nearest_setting_is_the_one_quoted() -> None:
    near = example_evaluation("near")
    far = replace(near, evaluation={**near.evaluation, "source": "far", "protocol": {"n_way": 9}})
    rows = evaluation_rows([far, near], Words("en"))
    found, same = matching_rows(rows, n_way=4, n_shot=5)
    assert ([row.source for row in found], same) == (["near"], True)
    found, same = matching_rows(rows, n_way=10, n_shot=5)
    assert ([row.source for row in found], same) == (["far"], False)
    assert rows[0].chance == pytest.approx(1 / 9)
    assert matching_rows([], n_way=4, n_shot=5) == ([], False)

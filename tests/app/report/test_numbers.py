from __future__ import annotations

import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_score, recall_score, roc_auc_score

from medmeta.app.report.numbers import query_figures, wilson
from tests.app.report._example import example_content


@pytest.mark.parametrize("count", [0, 1, 7, 10])
def test_wilson_agrees_with_scipy(count: int) -> None:
    expected = binomtest(count, 10).proportion_ci(0.95, method="wilson")
    share = wilson(count, 10)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_query_figures_agree_with_scikit_learn() -> None:
    content = example_content()
    assert content.query is not None
    truth, answers = content.query.labels, content.query.probabilities.argmax(1)
    figures = query_figures(content.query, content.class_names)
    assert figures is not None
    assert (figures.confusion[:, :4] == confusion_matrix(truth, answers)).all()
    assert figures.accuracy.value == (truth == answers).mean()
    recalls = recall_score(truth, answers, average=None)
    precisions = precision_score(truth, answers, average=None)
    for k, row in enumerate(figures.classes):
        assert row.sensitivity.value == pytest.approx(recalls[k])
        assert row.precision.value == pytest.approx(precisions[k])
        against = recall_score(truth != k, answers != k)
        assert row.specificity.value == pytest.approx(against)
    area = roc_auc_score(truth, content.query.probabilities, multi_class="ovr")
    assert figures.auroc == pytest.approx(area)

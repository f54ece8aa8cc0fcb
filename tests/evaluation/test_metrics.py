import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.metrics import (
    balanced_accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from medmeta.evaluation.metrics import (
    area_under_roc,
    calibration_error,
    class_metrics,
    log_odds,
    softmax,
    value_metrics,
)

HALF = 0.5


def tasks(seed, n_way, *, tied=False, n_tasks=3, each=4):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n_tasks, n_way * each, n_way))
    probabilities = softmax(np.round(logits) if tied else logits)
    labels = np.stack([random.permutation(np.arange(n_way).repeat(each)) for _ in range(n_tasks)])
    return probabilities, labels


@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans())
def test_metrics_are_scikit_learns(seed, n_way, tied):
    probabilities, labels = tasks(seed, n_way, tied=tied)
    found = class_metrics(probabilities, labels)
    for t, (p, y) in enumerate(zip(probabilities, labels, strict=True)):
        area = (
            roc_auc_score(y, p[:, 1])
            if n_way == 2
            else roc_auc_score(y, p, multi_class="ovr", average="macro")
        )
        wanted = {
            "auroc": area,
            "log_loss": log_loss(y, p),
            "balanced_accuracy": balanced_accuracy_score(y, p.argmax(1)),
            "accuracy": (p.argmax(1) == y).mean(),
            "brier": sum((p[i, c] - (y[i] == c)) ** 2 for i in range(len(y)) for c in range(n_way))
            / len(y),
        }
        assert {name: column[t] for name, column in found.items()} == pytest.approx(
            wanted, abs=1e-9
        )


def test_classes_of_uneven_numbers_count_alike_in_balanced_accuracy():
    probabilities = np.tile([0.9, 0.1], (1, 10, 1))  # always the first class, 8 of 10 right
    labels = np.array([[0] * 8 + [1] * 2])
    found = class_metrics(probabilities, labels)
    assert found["accuracy"] == [0.8]
    assert found["balanced_accuracy"] == [HALF]
    assert found["auroc"] == [HALF]  # all tied
    assert found["brier"] == pytest.approx([0.8 * 2 * 0.1**2 + 0.2 * 2 * 0.9**2])


def test_an_absent_class_does_not_count():
    probabilities, labels = tasks(0, 3, n_tasks=1)
    labels = np.where(labels == 2, 0, labels)
    found = class_metrics(probabilities, labels)
    areas = [roc_auc_score(labels[0] == c, probabilities[0, :, c]) for c in (0, 1)]
    assert found["auroc"] == pytest.approx([np.mean(areas)])
    answers = probabilities.argmax(-1)
    recalls = [(answers[labels == c] == c).mean() for c in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx([np.mean(recalls)])


def test_one_class_alone_has_no_area():
    probabilities, labels = tasks(0, 2, n_tasks=2)
    labels[0] = 1
    areas = class_metrics(probabilities, labels)["auroc"]
    assert np.isnan(areas[0])
    assert areas[1] == pytest.approx(roc_auc_score(labels[1], probabilities[1, :, 1]))


def test_the_area_by_hand():
    # Positives score 3 and 2, negatives 2 and 1: three pairs are won and one is tied.
    truth = np.array([[[1.0], [1.0], [0.0], [0.0]]])
    assert area_under_roc(np.array([[[3.0], [2.0], [2.0], [1.0]]]), truth) == [3.5 / 4]


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("n_way", [2, 3, 7])
def test_log_odds_are_scipys_and_rank_where_probabilities_no_longer_do(scale, n_way):
    logits = scale * np.random.default_rng(n_way).normal(size=(4, 20, n_way))
    found = log_odds(logits)
    for k in range(n_way):
        others = logsumexp(np.delete(logits, k, -1), axis=-1)
        np.testing.assert_allclose(found[..., k], logits[..., k] - others, rtol=1e-9, atol=1e-9)


def test_the_area_of_certain_answers():
    """Gaps of logits of 50 and 60 are one probability to the last digit, and still an order."""
    gaps, labels = np.array([50.0, 60.0, 40.0, 45.0]), np.array([[0, 0, 1, 1]])
    logits = np.stack([gaps, np.zeros(4)], -1)[None]
    found = class_metrics(softmax(logits), labels, odds=log_odds(logits))
    assert found["auroc"] == [1.0]
    assert np.isnan(log_odds(np.array([np.nan, 1.0]))).any()
    assert log_odds(np.array([3.0, -np.inf])).tolist() == [np.inf, -np.inf]


def test_softmax_is_stable_and_says_what_is_no_number():
    assert softmax(np.array([1000.0, 1000.0])).tolist() == [HALF, HALF]
    assert softmax(np.array([-np.inf, 0.0])).tolist() == [0, 1]
    for bad in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
        assert np.isnan(softmax(np.array(bad))).all()


def test_an_answer_that_is_no_number_is_wrong():
    logits = np.tile([9.0, 0.0], (2, 4, 1))
    logits[0, 1] = np.nan
    labels = np.array([[0, 0, 1, 1]] * 2)
    found = class_metrics(softmax(logits), labels)
    assert found["accuracy"].tolist() == [0.25, HALF]
    assert np.isnan(found["log_loss"]).tolist() == [True, False]
    assert np.isnan(found["auroc"]).tolist() == [True, False]


def test_a_certain_and_wrong_answer_costs_much_and_not_infinitely():
    found = class_metrics(np.array([[[1.0, 0.0]]]), np.array([[1]]))
    assert found["log_loss"] == pytest.approx([-np.log(1e-12)])
    assert found["brier"] == [2.0]


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1e-8, 1.0, 1e6]))
def test_value_metrics_are_scikit_learns(seed, size, unit):
    random = np.random.default_rng(seed)
    values = random.normal(size=(3, 7, size)) * unit
    predicted = values + random.normal(size=values.shape) * unit
    found = value_metrics(predicted, values)
    for t, (p, y) in enumerate(zip(predicted, values, strict=True)):
        assert found["mean_squared_error"][t] == pytest.approx(mean_squared_error(y, p))
        assert found["mean_absolute_error"][t] == pytest.approx(mean_absolute_error(y, p))
        if size == 1:
            assert found["r_squared"][t] == pytest.approx(r2_score(y, p))


def test_equal_values_have_no_r_squared():
    values = np.full((1, 3, 1), 0.1)  # their mean is rounded
    assert np.isnan(value_metrics(values + 1, values)["r_squared"]).all()


def test_calibration_error_by_hand():
    # Fifteen bins: 0.62 and 0.65 fall in one, 0.95 twice in another, 1.0 in the last.
    confidence = np.array([0.62, 0.65, 0.95, 0.95, 1.0])
    right = np.array([True, False, True, True, False])
    wanted = (abs(1.27 - 1) + abs(1.9 - 2 + 1.0)) / 5  # 0.95 and 1.0 share the last bin
    assert calibration_error(confidence, right) == pytest.approx(wanted)
    ten = (abs(1.27 - 1) + abs(2.9 - 2)) / 5
    assert calibration_error(confidence, right, 10) == pytest.approx(ten)
    assert np.isnan(calibration_error(np.array([]), np.array([], dtype=bool)))


def test_honest_confidence_is_calibrated():
    random = np.random.default_rng(0)
    confidence = random.uniform(HALF, 1, 200_000)
    assert calibration_error(confidence, random.random(200_000) < confidence) < 0.01

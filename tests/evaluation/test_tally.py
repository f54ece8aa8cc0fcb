"""What is collected does not depend on the order in which tasks are answered."""

import numpy as np
import pytest
import torch

from medmeta.episodes.sampler import TaskDraw
from medmeta.evaluation.metrics import calibration_error, softmax
from medmeta.evaluation.tally import Tally

NAMES = ("a", "b", "c")


def draw(task, *classes):
    rows = np.zeros(0, dtype=np.int64)
    return TaskDraw(task, 0, classes, rows, rows, rows, rows)


def added(order):
    """Four tasks of two classes and four queries, added in some order, in parts of two."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(4, 4, 2)), np.tile([0, 0, 1, 1], (4, 1))
    draws = [draw(0, "a", "b"), draw(1, "c", "a"), draw(2, "b", "c"), draw(3, "a", "c")]
    tally = Tally(NAMES, 4)
    for part in np.array(order).reshape(-1, 2):
        outputs, known = torch.tensor(logits[part]), torch.tensor(labels[part])
        tally.add([draws[i] for i in part], 1 + int(part[0] > 1), outputs, known)
    return tally, logits, labels, draws


def test_the_order_of_answers_does_not_matter():
    one, two = added([0, 1, 2, 3])[0], added([3, 2, 1, 0])[0]
    assert one.records["task"].tolist() == [0, 1, 2, 3]
    assert one.records["n_shot"].tolist() == [1, 1, 2, 2]
    for name, column in one.records.items():
        np.testing.assert_array_equal(two.records[name], column)
    np.testing.assert_array_equal(two.confusion, one.confusion)
    assert two.calibration_error == pytest.approx(one.calibration_error)


def test_counts_are_those_of_a_plain_loop():
    tally, logits, labels, draws = added([2, 3, 0, 1])
    confusion = np.zeros((3, 3))
    for task, drawn in enumerate(draws):
        for query in range(4):
            true, given = labels[task, query], logits[task, query].argmax()
            confusion[NAMES.index(drawn.classes[true]), NAMES.index(drawn.classes[given])] += 1
    assert (tally.confusion == confusion).all()
    likely = softmax(logits)
    right = likely.argmax(-1) == labels
    wanted = calibration_error(likely.max(-1).reshape(-1), right.reshape(-1))
    assert tally.calibration_error == pytest.approx(wanted)


def test_tasks_not_yet_answered_are_no_numbers():
    tally = Tally((), 3)
    outputs = torch.tensor([[[1.0], [3.0]]])
    tally.add([draw(1)], 2, outputs, torch.tensor([[[2.0], [3.0]]]))
    assert tally.records["mean_absolute_error"][1] == (1 + 0) / 2
    assert np.isnan(tally.records["mean_absolute_error"][[0, 2]]).all()
    assert np.isnan(tally.calibration_error)

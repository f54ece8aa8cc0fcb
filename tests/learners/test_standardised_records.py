"""Records in units of each task's own support."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.learners import build_learner
from medmeta.learners.standardised_records import MOST, RecordScale

TARGET = Target("classes", 2)
NAN = float("nan")


def _support(records: Tensor) -> LabelledSet:
    labels = torch.arange(records.shape[1]).remainder(2)[None]
    return LabelledSet(records, labels, torch.tensor([0]))


def test_mean_and_spread_are_of_what_is_known() -> None:
    records = torch.tensor([[[1.0, 5.0], [3.0, NAN], [NAN, 5.0]]])
    scale = RecordScale.of(records)
    assert scale.mean.tolist() == [[[2.0, 5.0]]]
    assert scale.spread.tolist() == [[[1.0, 0.0]]]
    found = scale.standardise(torch.tensor([[[4.0, 900.0], [NAN, NAN], [2.5, 5.0]]]))
    assert found.tolist() == [[[2.0, 0.0], [0.0, 0.0], [0.5, 0.0]]]


def test_what_lies_far_out_is_bounded() -> None:
    scale = RecordScale.of(torch.tensor([[[0.0], [2.0]]]))
    assert scale.standardise(torch.tensor([[[1e9], [-1e9]]])).flatten().tolist() == [MOST, -MOST]


@pytest.mark.parametrize("name", ["prototypical", "ridge", "maml", "random_forest"])
def test_the_unit_of_a_record_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    learner = build_learner(name, None, InputSpec(3, ()), TARGET).eval()
    random = torch.Generator().manual_seed(1)
    support, query = (torch.randn(1, n, 3, generator=random) for n in (6, 5))
    factor, shift = torch.tensor([88.4, 0.02, 1.0]), torch.tensor([0.0, 3.0, -40.0])
    plain = learner.adapt(_support(support), TARGET)(query)
    other = learner.adapt(_support(support * factor + shift), TARGET)(query * factor + shift)
    torch.testing.assert_close(plain, other, atol=2e-3, rtol=2e-3)


def test_a_gap_is_as_good_as_the_mean_of_the_support() -> None:
    torch.manual_seed(0)
    learner = build_learner("ridge", None, InputSpec(2, ()), TARGET).eval()
    support = torch.tensor([[[0.0, 1.0], [1.0, 2.0], [2.0, 6.0], [5.0, 3.0]]])
    predictor = learner.adapt(_support(support), TARGET)
    with_gap, with_mean = torch.tensor([[[1.0, NAN]]]), torch.tensor([[[1.0, 3.0]]])
    torch.testing.assert_close(predictor(with_gap), predictor(with_mean))


def test_a_learner_of_values_takes_records() -> None:
    torch.manual_seed(0)
    learner = build_learner(
        "ridge", {"regularisation": 1e-6}, InputSpec(1, ()), Target("values", 1)
    )
    records = torch.linspace(10, 90, 9)[None, :, None]
    support = LabelledSet(records, 3 * records + 7, torch.tensor([0]))
    with torch.no_grad():
        answers = learner.eval().adapt(support, Target("values", 1))(torch.tensor([[[50.0]]]))
    assert abs(answers.item() - 157.0) < 3.0

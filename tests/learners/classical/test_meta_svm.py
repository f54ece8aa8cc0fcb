"""Meta-SVM: its kernel by hand, its gradient against differences, its gain over the plain form."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import build_head
from medmeta.learners.classical.meta_svm import MetaSVMConfig, MetaSVMHead
from medmeta.learners.heads.svm import svm_duals
from tests.learners.classical.source_tasks import SIZE, TARGET, accuracy, trained
from tests.learners.normal_numbers import normal

SPEC = InputSpec(SIZE, ())


def test_the_kernel_by_hand() -> None:
    """Points (1, 0) and (0, 2): product 0, squared distance 5."""
    head = MetaSVMHead(MetaSVMConfig(width=0.3, linear=0.25), 2).double()
    first, second = torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[[0.0, 2.0]]]).double()
    crossed = 0.75 * torch.tensor(-1.5).double().exp()
    torch.testing.assert_close(head.kernel(first, second)[0, 0, 0], crossed, rtol=1e-6, atol=0)
    same = torch.tensor(0.25 * 4 + 0.75).double()
    torch.testing.assert_close(head.kernel(second, second)[0, 0, 0], same, rtol=1e-6, atol=0)


@pytest.mark.parametrize("slack", [0.2, 5.0])
def test_c_moves_from_the_bounds_into_the_kernel(slack: float) -> None:
    """``A = C B``: the duals for bounds of C are C times those for a kernel of C K."""
    labels = torch.tensor([0, 1, 2] * 3)
    images = normal(1, 9, 4)
    wanted = torch.nn.functional.one_hot(labels, 3).double()[None]
    kernel = images @ images.mT
    bounded = svm_duals(kernel, wanted, slack, rounds=20)
    scaled = slack * svm_duals(slack * kernel, wanted, 1.0, rounds=20)
    torch.testing.assert_close(kernel @ scaled, kernel @ bounded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slack", [0.2, 5.0])
def test_gradients_are_those_of_finite_differences(slack: float) -> None:
    """Of all that is learned; some bounds are reached with the smaller C."""
    config = MetaSVMConfig(slack=slack, rounds=30)
    head = MetaSVMHead(config, 3).double()
    labels = torch.tensor([[0, 1, 2, 0, 1, 2, 2]])
    support = LabelledSet(normal(1, 7, 3), labels, torch.zeros(1))
    queries, weights = normal(1, 4, 3, seed=1), normal(1, 4, 3, seed=2)

    def total() -> torch.Tensor:
        return (head.adapt(support, TARGET)(queries) * weights).sum()

    found = torch.autograd.grad(total(), list(head.parameters()))
    step = 1e-5
    for (name, parameter), gradient in zip(head.named_parameters(), found, strict=True):
        ends = []
        with torch.no_grad():
            entry = parameter.view(-1)[0]
            before = entry.clone()
            for sign in (1, -1):
                entry.copy_(before + sign * step)
                ends.append(total())
            entry.copy_(before)
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(
            gradient.flatten()[0], slope, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert gradient.any()


def test_learned_across_tasks_it_beats_its_plain_form() -> None:
    torch.manual_seed(0)
    learned, plain = (build_head(n, None, SPEC, TARGET) for n in ("meta_svm", "kernel_svm"))
    trained(learned, 30, rate=2e-2)
    assert accuracy(learned, 40) > accuracy(plain, 40) + 0.05
    loaded = cast(MetaSVMHead, build_head("meta_svm", {"slack": 7.0}, SPEC, TARGET))
    loaded.load_state_dict(learned.state_dict())
    assert accuracy(loaded, 10) == accuracy(learned, 10)


def test_values_are_refused() -> None:
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        build_head("meta_svm", None, SPEC, Target("values", 1))

"""The contract, checked: any learner, also one from outside, against what the rest relies on."""

from __future__ import annotations

import copy

import torch

from medmeta.check_tasks import TaskMaker, default_target, input_spec_for
from medmeta.checks.adapting import (
    adapt_changes_nothing,
    answers_have_the_right_shape,
    devices_agree,
    one_task_at_a_time,
    predictors_are_values,
    queries_do_not_help_each_other,
    refuses_what_it_cannot_take,
    relabelling_permutes_logits,
    shots_may_be_uneven,
    support_order_does_not_matter,
)
from medmeta.checks.case import N_WAY, Case, Check, GapError
from medmeta.checks.learning import (
    beats_chance,
    loss_is_per_task,
    survives_a_round_trip,
    works_without_gradients,
)
from medmeta.episode import InputSpec, Target
from medmeta.errors import ContractError
from medmeta.learner import AbstractLearner, check_input_fits, check_task_fits, name_of

__all__ = ["CHECKS", "Case", "Check", "check_learner"]

# In this order: the first two let gradients flow, the third asks whether it works without.
CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        adapt_changes_nothing,
        answers_have_the_right_shape,
        works_without_gradients,
        predictors_are_values,
        one_task_at_a_time,
        queries_do_not_help_each_other,
        support_order_does_not_matter,
        relabelling_permutes_logits,
        shots_may_be_uneven,
        loss_is_per_task,
        survives_a_round_trip,
        refuses_what_it_cannot_take,
        beats_chance,
        devices_agree,
    )
}


def check_learner(
    learner: AbstractLearner,
    *,
    input_spec: InputSpec | None = None,
    target: Target | None = None,
) -> tuple[str, ...]:
    """Test a learner against the contract; returns the names of the checks that it passed.

    ``input_spec`` is the shape of one input (by default a small one of the kind in its traits),
    ``target`` what to ask (by default three classes, or one value). What is checked is a copy, in
    evaluation mode and on the CPU: the learner itself is not touched. Raises ``ContractError``
    that names the first check that fails and says what was seen, ``UnsupportedTaskError`` where
    the learner does not take the target or such inputs.

    >>> from medmeta.learners import build_learner
    >>> spec = InputSpec(1, (16, 16))
    >>> learner = build_learner("ridge", None, spec, Target("classes", 3))
    >>> passed = check_learner(learner, input_spec=spec)
    >>> "one_task_at_a_time" in passed
    True
    """
    spec = input_spec or input_spec_for(learner.traits)
    wanted = target or default_target(learner.traits, N_WAY)
    check_task_fits(learner, wanted)
    check_input_fits(learner.traits, spec, name=name_of(learner))
    case = Case(_copy_of(learner), wanted, TaskMaker(spec, wanted))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, check in CHECKS.items():
            _run(name, check, case)
    return tuple(CHECKS)


def _copy_of(learner: AbstractLearner) -> AbstractLearner:
    try:
        return copy.deepcopy(learner).cpu().eval()
    except Exception as error:
        raise ContractError(
            f"{type(learner).__name__} cannot be copied ({error}); a learner holds parameters, "
            "buffers and plain settings, nothing that was computed."
        ) from error


def _run(name: str, check: Check, case: Case) -> None:
    where = f"{type(case.learner).__name__}, {name}"
    try:
        _beyond_rounding(check, case)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from None
    except Exception as error:
        raise ContractError(f"{where}: raised {type(error).__name__}: {error}") from error


def _beyond_rounding(check: Check, case: Case) -> None:
    """Run a check; a gap that it finds counts unless double precision closes it.

    Rounding can tip an activation that lies at zero, and a tipped one changes a gradient by more
    than rounding. In double precision that hardly ever happens, while what is wrong stays wrong.
    """
    try:
        check(case)
    except GapError as gap:
        try:
            check(case.in_double())
        except Exception:  # also of a learner that knows single precision only
            raise gap from None

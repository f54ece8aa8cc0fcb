"""The contract, checked: any learner, also one from outside, against what the rest relies on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from medmeta.check_tasks import TaskMaker, default_target, input_spec_for
from medmeta.episode import Episode, InputSpec, LabelledSet, Target, map_inputs
from medmeta.errors import ContractError, MedmetaError
from medmeta.learner import AbstractLearner, check_task_fits
from medmeta.training.checkpoint import tensors_from_bytes, tensors_to_bytes

TOLERANCE = 1e-4
LESSONS = 120
N_TASKS, N_WAY, N_SHOT, N_QUERY = 3, 3, 3, 4


@dataclass(frozen=True)
class Case:
    """What a check works on: the learner in evaluation mode and the tasks made for it."""

    learner: AbstractLearner
    target: Target
    maker: TaskMaker

    @property
    def episode(self) -> Episode:
        """A small episode, the same at each call."""
        return self.maker.episode(N_TASKS, n_shot=N_SHOT, n_query=N_QUERY, seed=1)

    def logits(self, episode: Episode, learner: AbstractLearner | None = None) -> Tensor:
        """The learner's answers to an episode's queries."""
        with torch.no_grad():
            predictor = (learner or self.learner).adapt(episode.support, episode.target)
            return predictor(episode.query.inputs)


Check = Callable[[Case], None]


def check_learner(
    learner: AbstractLearner,
    *,
    input_spec: InputSpec | None = None,
    target: Target | None = None,
) -> tuple[str, ...]:
    """Test a learner against the contract; returns the names of the checks that it passed.

    ``input_spec`` is the shape of one input (by default a small one of the kind in its traits),
    ``target`` what to ask (by default three classes, or one value). The learner is checked in
    evaluation mode and is left as it was. Raises ``ContractError`` that names the first check
    that fails and says what was seen.

    >>> from medmeta.learners import build_learner
    >>> spec = InputSpec(1, (16, 16))
    >>> passed = check_learner(build_learner("ridge", None, spec, Target("classes", 3)), input_spec=spec)
    >>> "one_task_at_a_time" in passed
    True
    """
    spec = input_spec or input_spec_for(learner.traits)
    wanted = target or default_target(learner.traits, N_WAY)
    with _left_as_it_was(learner):
        learner.eval()
        case = Case(learner, wanted, TaskMaker(spec, wanted))
        return tuple(name for name, check in CHECKS.items() if _passes(name, check, case))


def _passes(name: str, check: Check, case: Case) -> bool:
    try:
        check(case)
    except ContractError as error:
        raise ContractError(f"{type(case.learner).__name__}, {name}: {error}") from None
    except MedmetaError:
        raise
    except Exception as error:
        raise ContractError(
            f"{type(case.learner).__name__}, {name}: raised {type(error).__name__}: {error}"
        ) from error
    return True


@contextmanager
def _left_as_it_was(learner: AbstractLearner) -> Iterator[None]:
    was_training = learner.training
    kept = {k: v.clone() for k, v in learner.state_dict().items()}
    gradients = {name: p.grad for name, p in learner.named_parameters()}
    try:
        yield
    finally:
        learner.load_state_dict(kept)
        learner.train(was_training)
        for name, parameter in learner.named_parameters():
            parameter.grad = gradients.get(name)


def answers_have_the_right_shape(case: Case) -> None:
    """Logits are ``(T, Q, size, *space)``, floating and finite."""
    episode = case.episode
    logits = case.logits(episode)
    wanted = (N_TASKS, episode.query.n_examples, case.target.size)
    if tuple(logits.shape[:3]) != wanted:
        raise ContractError(f"logits have shape {tuple(logits.shape)}, not {wanted} (T, Q, size).")
    if not logits.is_floating_point() or not bool(torch.isfinite(logits).all()):
        raise ContractError("logits are not all finite floating-point numbers.")


def adapt_changes_nothing(case: Case) -> None:
    """``adapt`` and prediction leave the state dict and the inputs bit-identical."""
    episode = case.episode
    before = {k: v.clone() for k, v in case.learner.state_dict().items()}
    attributes = _plain_attributes(case.learner)
    copies = [copy.deepcopy(part.inputs) for part in (episode.support, episode.query)]
    case.logits(episode)
    for name, value in case.learner.state_dict().items():
        if name not in before or not torch.equal(before[name], value):
            raise ContractError(f"adapt changed {name}; all it learns belongs in the predictor.")
    kept = _plain_attributes(case.learner)
    changed = sorted(k for k in kept.keys() | attributes.keys() if kept.get(k) != attributes.get(k))
    if changed:
        raise ContractError(f"adapt changed self.{', self.'.join(changed)}; keep nothing on self.")
    for part, copied in zip((episode.support, episode.query), copies, strict=True):
        if not _same_inputs(part.inputs, copied):
            raise ContractError("adapt or predict changed the images that it was given.")


def _plain_attributes(learner: AbstractLearner) -> dict[str, int]:
    """Identities of what hangs on the learner itself, beyond parameters and modules."""
    hidden = {"_parameters", "_buffers", "_modules"}
    return {k: id(v) for k, v in vars(learner).items() if k not in hidden}


def _same_inputs(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    assert isinstance(first, dict) and isinstance(second, dict)
    return all(torch.equal(first[name], second[name]) for name in first)


def predictors_are_values(case: Case) -> None:
    """Two predictors do not disturb each other; the same query twice gives the same logits."""
    one = case.episode
    two = case.maker.episode(N_TASKS, n_shot=N_SHOT, n_query=N_QUERY, seed=2)
    with torch.no_grad():
        first = case.learner.adapt(one.support, one.target)
        answers = first(one.query.inputs)
        second = case.learner.adapt(two.support, two.target)
        second(two.query.inputs)
        again = first(one.query.inputs)
    if not torch.equal(answers, again):
        raise ContractError(
            "the same query gave other logits after another adapt: state is shared, or chance is "
            "not seeded from task_ids."
        )


def one_task_at_a_time(case: Case) -> None:
    """A batch of T tasks equals T batches of one."""
    episode = case.episode
    together = case.logits(episode)
    alone = torch.cat([case.logits(episode.tasks(t, t + 1)) for t in range(N_TASKS)])
    _expect_close(together, alone, "a batch of tasks differs from the same tasks one by one")


def queries_do_not_help_each_other(case: Case) -> None:
    """A query's logits do not depend on the other queries, unless ``transductive``."""
    if case.learner.traits.transductive:
        return
    episode = case.episode
    together = case.logits(episode)
    for q in (0, episode.query.n_examples - 1):
        take = partial(_take_query, q=q)
        alone = case.logits(replace(episode, query=take(episode.query)))
        _expect_close(
            together[:, q : q + 1],
            alone,
            "a query alone gets other logits than among others; set traits.transductive, or do "
            "not use the batch's statistics",
        )


def _take_query(labelled: LabelledSet, q: int) -> LabelledSet:
    inputs = map_inputs(lambda x: x[:, q : q + 1], labelled.inputs)
    return LabelledSet(inputs, labelled.labels[:, q : q + 1], labelled.task_ids)


def support_order_does_not_matter(case: Case) -> None:
    """Shuffling the support changes nothing, unless ``order_free`` is false."""
    if not case.learner.traits.order_free:
        return
    episode = case.episode
    order = torch.randperm(episode.support.n_examples, generator=torch.Generator().manual_seed(3))
    shuffled = LabelledSet(
        map_inputs(lambda x: x[:, order], episode.support.inputs),
        episode.support.labels[:, order],
        episode.support.task_ids,
    )
    _expect_close(
        case.logits(episode),
        case.logits(replace(episode, support=shuffled)),
        "the order of the support images changes the logits; set order_free=False if it should",
    )


def relabelling_permutes_logits(case: Case) -> None:
    """Renaming the classes permutes the logits, where ``label_equivariant``."""
    if not case.learner.traits.label_equivariant or case.target.kind != "classes":
        return
    episode = case.episode
    permutation = torch.roll(torch.arange(case.target.size), 1)
    support = replace(episode.support, labels=permutation[episode.support.labels])
    renamed = case.logits(replace(episode, support=support))
    _expect_close(
        case.logits(episode),
        renamed[:, :, permutation],
        "renaming the classes does not permute the logits; set label_equivariant=False if the "
        "output layer is fixed",
    )


def shots_may_be_uneven(case: Case) -> None:
    """Classes may have different numbers of support images."""
    episode = case.episode
    kept = torch.arange(episode.support.n_examples - N_SHOT + 1)
    support = LabelledSet(
        map_inputs(lambda x: x[:, kept], episode.support.inputs),
        episode.support.labels[:, kept],
        episode.support.task_ids,
    )
    logits = case.logits(replace(episode, support=support))
    if not bool(torch.isfinite(logits).all()):
        raise ContractError("with uneven shots per class the logits are not finite.")


def loss_is_per_task(case: Case) -> None:
    """``loss`` is ``(T,)``, finite, and its gradient reaches a parameter exactly if trainable."""
    learner = case.learner
    learner.zero_grad(set_to_none=True)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    with torch.enable_grad():
        loss = learner.loss(case.episode)
        if tuple(loss.shape) != (N_TASKS,) or not bool(torch.isfinite(loss).all()):
            raise ContractError(
                f"loss is {tuple(loss.shape)}, not one finite number per task (T,)."
            )
        reached = False
        if loss.requires_grad and parameters:
            gradients = torch.autograd.grad(loss.mean(), parameters, allow_unused=True)
            reached = any(g is not None and bool((g != 0).any()) for g in gradients)
    if reached != learner.traits.trainable:
        found = "reaches" if reached else "reaches no"
        raise ContractError(
            f"traits.trainable is {learner.traits.trainable}, but the gradient of the loss "
            f"{found} parameter{'s' if reached else ''}."
        )


def works_without_gradients(case: Case) -> None:
    """Adapting under ``no_grad`` and ``inference_mode`` gives the same answers."""
    episode = case.episode
    without = case.logits(episode)
    with torch.enable_grad():
        predictor = case.learner.adapt(episode.support, episode.target)
        with_gradients = predictor(episode.query.inputs).detach()
    with torch.inference_mode():
        predictor = case.learner.adapt(episode.support, episode.target)
        inferred = predictor(episode.query.inputs).clone()
    _expect_close(without, with_gradients, "no_grad changes the logits")
    _expect_close(without, inferred, "inference_mode changes the logits")


def survives_a_round_trip(case: Case) -> None:
    """Weights saved and loaded into a disturbed copy give the same logits."""
    episode = case.episode
    saved = tensors_to_bytes(case.learner.state_dict())
    other = copy.deepcopy(case.learner)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(tensors_from_bytes(saved, where=Path("check")))
    _expect_close(
        case.logits(episode),
        case.logits(episode, other),
        "after saving and loading the logits differ: something that matters is not in state_dict",
    )


def beats_chance(case: Case) -> None:
    """On easy tasks it does better than an answer that ignores the support.

    A learner that is trainable may first be trained a little, on other easy tasks.
    """
    complaint = _chance_complaint(case, case.learner)
    if complaint and case.learner.traits.trainable:
        pupil = copy.deepcopy(case.learner)
        optimiser = torch.optim.Adam(pupil.parameters(), lr=3e-3)
        for lesson in range(LESSONS):
            optimiser.zero_grad()
            with torch.enable_grad():
                pupil.train()
                episode = case.maker.episode(8, n_shot=3, n_query=4, seed=100 + lesson, noise=0.3)
                pupil.loss(episode).mean().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
            optimiser.step()
            if (lesson + 1) % 20 == 0:
                complaint = _chance_complaint(case, pupil.eval())
            if not complaint:
                break
    if complaint:
        raise ContractError(complaint)


def _chance_complaint(case: Case, learner: AbstractLearner) -> str:
    """What is wrong with its answers to easy tasks; empty when nothing is."""
    episode = case.maker.episode(24, n_shot=5, n_query=N_QUERY, seed=4, noise=0.3)
    answers, labels = case.logits(episode, learner), episode.query.labels
    if case.target.kind == "values":
        error = float((answers - labels).square().mean())
        guess = episode.support.labels.mean(1, keepdim=True)
        ignorant = float((guess - labels).square().mean())
        words = f"squared error {error:.3f} on easy tasks; the support's mean has {ignorant:.3f}."
        return "" if error < 0.9 * ignorant else words
    accuracy = float((answers.argmax(2) == labels).float().mean())
    chance = 1 / case.target.size
    margin = 3 * (chance * (1 - chance) / labels.numel()) ** 0.5
    words = f"accuracy {accuracy:.2f} on easy tasks, where chance is {chance:.2f}."
    return "" if accuracy > chance + margin else words


def refuses_what_it_cannot_take(case: Case) -> None:
    """More classes than ``max_way`` are refused in plain words."""
    most = case.learner.traits.max_way
    if most is None or case.target.kind != "classes":
        return
    target = Target("classes", most + 1)
    episode = TaskMaker(case.maker.input_spec, target).episode(1, n_shot=1, n_query=1, seed=5)
    for refuse in (
        lambda: check_task_fits(case.learner, target),
        lambda: case.learner.adapt(episode.support, target),
    ):
        try:
            refuse()
        except MedmetaError:
            continue
        raise ContractError(f"{most + 1} classes are not refused, though max_way is {most}.")


def devices_agree(case: Case) -> None:
    """CPU and GPU give the same logits within tolerance, where there is a GPU."""
    if not torch.cuda.is_available():
        return
    episode = case.episode
    moved = copy.deepcopy(case.learner).to("cuda")
    there = Episode(_on_gpu(episode.support), _on_gpu(episode.query), episode.target)
    gpu = case.logits(there, moved).cpu()
    _expect_close(case.logits(episode), gpu, "CPU and GPU differ", tolerance=1e-2)


def _on_gpu(labelled: LabelledSet) -> LabelledSet:
    inputs = map_inputs(lambda x: x.cuda(), labelled.inputs)
    return LabelledSet(inputs, labelled.labels.cuda(), labelled.task_ids.cuda())


def _expect_close(
    first: Tensor, second: Tensor, complaint: str, *, tolerance: float = TOLERANCE
) -> None:
    gap = float((first - second).abs().max())
    allowed = tolerance * (1 + float(first.abs().max()))
    if not gap <= allowed:
        raise ContractError(f"{complaint} (largest gap {gap:.2g}).")


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        answers_have_the_right_shape,
        adapt_changes_nothing,
        predictors_are_values,
        one_task_at_a_time,
        queries_do_not_help_each_other,
        support_order_does_not_matter,
        relabelling_permutes_logits,
        shots_may_be_uneven,
        loss_is_per_task,
        works_without_gradients,
        survives_a_round_trip,
        refuses_what_it_cannot_take,
        beats_chance,
        devices_agree,
    )
}

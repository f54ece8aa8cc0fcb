"""Classes that only one kind of input, or only several together, can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Target
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner

TARGET = Target("classes", 2)
Drawn = tuple[Inputs, Tensor]
Draw = Callable[[int, int, torch.Generator], Drawn]


def _episode(draw: Draw, n_tasks: int, seed: int) -> Episode:
    random = torch.Generator().manual_seed(seed)
    ids = torch.arange(n_tasks)
    sets = [LabelledSet(*draw(n_tasks, n, random), ids) for n in (5, 10)]
    return Episode(sets[0], sets[1], TARGET)


def _trained(
    name: str, spec: InputSpec, draw: Draw, steps: int, encoder: dict[str, Any]
) -> AbstractLearner:
    torch.manual_seed(0)
    learner = build_learner(name, {"encoder": encoder}, spec, TARGET).train()
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-3)
    for step in range(steps):
        loss = learner.loss(_episode(draw, 4, step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return learner.eval()


def _accuracy(learner: AbstractLearner, episode: Episode) -> float:
    with torch.no_grad():
        answers = learner.adapt(episode.support, TARGET)(episode.query.inputs).argmax(2)
    return (answers == episode.query.labels).float().mean().item()


def _replaced(episode: Episode, **parts: Callable[[Tensor], Tensor]) -> Episode:
    """The episode with some parts of its inputs changed, of support and query."""
    sets = []
    for labelled in (episode.support, episode.query):
        assert not isinstance(labelled.inputs, Tensor)
        changed = {name: change(labelled.inputs[name]) for name, change in parts.items()}
        sets.append(labelled.with_inputs({**labelled.inputs, **changed}))
    return Episode(sets[0], sets[1], TARGET)


def _labels(n_tasks: int, n: int) -> Tensor:
    return torch.arange(2).repeat_interleave(n).repeat(n_tasks, 1)


def _both_decide(n_tasks: int, n: int, random: torch.Generator) -> Drawn:
    """The class is whether a bright square and a high value come together or not."""
    labels = _labels(n_tasks, n)
    bright = torch.randint(2, labels.shape, generator=random)
    images = 0.5 * torch.randn(*labels.shape, 1, 16, 16, generator=random)
    images[..., 4:12, 4:12] += (2.0 * bright - 1)[..., None, None, None]
    records = torch.randn(*labels.shape, 2, generator=random)
    records[..., 0] = 8 * records[..., 0] + 10 + 70 * (bright ^ labels)
    return {"image": images, "record": records}, labels


def test_image_and_record_together_tell_what_neither_does() -> None:
    spec = InputSpec.of_parts(image=InputSpec(1, (16, 16)), record=InputSpec(2, ()))
    narrow = {"image": {"options": {"width": 16}}, "record": {"options": {"width": 32}}}
    learner = _trained("ridge", spec, _both_decide, 110, {"options": narrow})
    asked = _episode(_both_decide, 60, 10**6)
    assert _accuracy(learner, asked) > 0.9
    image_only = _replaced(asked, record=lambda x: torch.full_like(x, float("nan")))
    record_only = _replaced(asked, image=torch.zeros_like)
    for alone in (image_only, record_only):
        assert abs(_accuracy(learner, alone) - 0.5) < 0.08


def _first_shows_it(n_tasks: int, n: int, random: torch.Generator) -> Drawn:
    """Of three modalities the first shows a bright square in one class; the others are noise."""
    labels = _labels(n_tasks, n)
    images = torch.randn(*labels.shape, 3, 16, 16, generator=random)
    images[:, :, 0, 4:12, 4:12] += (2.0 * labels - 1)[..., None, None]
    return {"image": images, "present": torch.ones(*labels.shape, 3)}, labels


def test_a_modality_that_tells_survives_the_absence_of_the_others() -> None:
    spec = InputSpec.of_parts(image=InputSpec(3, (16, 16)), present=InputSpec(3, ()))
    narrow = {"image": {"options": {"width": 16}}}
    learner = _trained("prototypical", spec, _first_shows_it, 40, {"options": narrow})
    asked = _episode(_first_shows_it, 40, 10**6)
    assert _accuracy(learner, asked) > 0.9
    for there in ([1.0, 0.0, 0.0], [1.0, 0.0, 1.0]):
        fewer = _replaced(asked, present=lambda x, t=there: torch.tensor(t).expand_as(x))
        assert _accuracy(learner, fewer) > 0.9
    gone = _replaced(asked, present=lambda x: torch.tensor([0.0, 1.0, 1.0]).expand_as(x))
    assert abs(_accuracy(learner, gone) - 0.5) < 0.1


def _turns(n_tasks: int, n: int, random: torch.Generator) -> Drawn:
    """A spot that goes round as one goes up, to the left in one class, to the right in the other.

    It begins anywhere, so any single slice shows a spot at a random place, in both alike.
    """
    labels = _labels(n_tasks, n)
    begin = 6.2832 * torch.rand(*labels.shape, 1, generator=random)
    up = torch.arange(16) * (6.2832 / 16)
    angle = begin + (2.0 * labels - 1)[..., None] * up
    grid = torch.arange(16.0)
    down = (grid[:, None] - 7.5 - 4.5 * angle.sin()[..., None, None]).square()
    along = (grid - 7.5 - 4.5 * angle.cos()[..., None, None]).square()
    volumes = 3.0 * (-(down + along) / 4).exp()
    noise = 0.1 * torch.randn(volumes.shape, generator=random)
    return (volumes + noise)[:, :, None], labels


def test_a_shape_that_no_slice_shows_needs_the_third_dimension() -> None:
    spec, asked = InputSpec(1, (16, 16, 16)), _episode(_turns, 12, 10**6)
    options = {"width": 8, "downsample": "stride", "pools": 3}
    solid = _trained("ridge", spec, _turns, 60, {"options": options})
    sliced = {"name": "slicewise", "options": {"image": {"options": options}}}
    flat = _trained("ridge", spec, _turns, 60, sliced)
    assert _accuracy(solid, asked) > 0.85
    assert abs(_accuracy(flat, asked) - 0.5) < 0.12

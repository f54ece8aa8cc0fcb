"""How the cost of each kind of work grows: one curve each, seconds against a size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from growth_inputs import prepare_leads, read_and_pool_tiles
from growth_timing import timed
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import HeadedLearner
from medmeta.learners import build_learner
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan
from speed_rows import evaluation, scale
from speed_rows.networks import gradient_learner, headed_learner
from speed_rows.pictures import seeded_episode

Point = tuple[int, float]


@dataclass(frozen=True)
class Curve:
    """``measure`` gives seconds at each of ``sizes``; ``quick`` are sizes to try it with."""

    name: str
    work: str
    axis: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    measure: Callable[[int], float]
    unit: str = "s"

    def points(self, *, quick: bool) -> Iterator[Point]:
        """Size and seconds, one after the other."""
        for size in self.quick if quick else self.sizes:
            yield size, self.measure(size)


def draw_task(n_images: int) -> float:
    """One task of 100 images from an index of so many."""
    sampler = TaskSampler([scale.imagined_source(n_images)], scale.protocol(0, 0))
    numbers = iter(range(10**9))
    return timed(lambda: sampler.draw(next(numbers)))


def open_sampler(n_images: int) -> float:
    """Making ready to draw from an index of so many: links between images, images of each class."""
    source = scale.imagined_source(n_images)

    def work() -> None:
        source.__dict__.pop("groups", None)  # kept by the source once they are known
        TaskSampler([source], scale.protocol(0, 0))

    return timed(work, least=0.0)


def evaluate_episodes(episodes: int) -> float:
    """So many episodes of 800 images that are encoded already."""
    source = evaluation.images_in_memory(0)
    learner = cast(
        HeadedLearner,
        headed_learner("prototypical", 0, evaluation.CHANNELS, evaluation.SIZE).eval(),
    )
    encoded = EncodedSource(learner, source)
    encoded.hold(np.arange(len(source)))
    asked = evaluation.protocol(episodes, 0)
    return timed(lambda: evaluate(learner, source, asked, encoded=encoded), least=0.0)


def train_ways(ways: int) -> float:
    """A step of prototypical training on one task of so many ways, in memory."""
    keep_freed_memory()
    learner = headed_learner("prototypical", 0, 1, 28, way=ways).train()
    episode = seeded_episode(0, 1, ways, 1, 1, (1, 28, 28))
    with StepGradient(learner, TaskPlan()) as gradient:
        return timed(lambda: gradient(episode))


def train_inner_steps(steps: int, *, checkpointed: bool = False) -> float:
    """A step of second-order MAML on 4 tasks with so many inner steps, in memory."""
    keep_freed_memory()
    learner = gradient_learner("maml", 0, inner_steps=steps, inner_checkpoint=checkpointed)
    episode = seeded_episode(0, 4, 5, 1, 5, (1, 28, 28))
    with StepGradient(learner, TaskPlan("loop", 1, 1)) as gradient:
        return timed(lambda: gradient(episode))


def train_with_workers(workers: int) -> float:
    """A step of second-order MAML on 8 tasks, shared out among so many workers of one thread."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = gradient_learner("maml", 0)
        episode = seeded_episode(0, 8, 5, 1, 5, (1, 28, 28))
        with StepGradient(learner, TaskPlan("loop", workers, 1)) as gradient:
            return timed(lambda: gradient(episode))
    finally:
        torch.set_num_threads(threads)


def adapt_to_volumes(voxels: int) -> float:
    """Ten volumes of so many voxels through Conv-4, as a 2-way 5-shot task has them."""
    side = round(voxels ** (1 / 3))
    spec = InputSpec(1, (side, side, side))
    options = {"encoder": {"options": {"embed": "mean"}}}
    learner = build_learner("prototypical", options, spec, Target("classes", 2)).eval()
    volumes = torch.randn(1, 10, *spec.shape)
    labels = (torch.arange(10) % 2)[None]
    support = LabelledSet(volumes, labels, torch.tensor([0]))

    def work() -> None:
        with torch.no_grad():
            learner.adapt(support, Target("classes", 2))

    return timed(work)


CURVES = (
    Curve(
        "images-drawing",
        "drawing one 5-way 5-shot task, 15 queries per class",
        "images in the index",
        tuple(10**k for k in range(3, 8)),
        (10**3, 10**4),
        draw_task,
    ),
    Curve(
        "images-opening",
        "making ready to draw",
        "images in the index",
        tuple(10**k for k in range(3, 8)),
        (10**3, 10**4),
        open_sampler,
    ),
    Curve(
        "episodes",
        "evaluating prototypical episodes on embeddings",
        "episodes",
        tuple(10**k for k in range(2, 6)),
        (20, 100),
        evaluate_episodes,
    ),
    Curve(
        "ways",
        "a step of prototypical training, 1 shot, 1 query per class",
        "ways",
        (2, 5, 10, 20, 50, 100, 200),
        (2, 5),
        train_ways,
    ),
    Curve(
        "inner-steps",
        "a step of second-order MAML, 4 tasks",
        "inner steps",
        (1, 2, 5, 10, 20),
        (1, 2),
        train_inner_steps,
    ),
    Curve(
        "inner-steps-checkpointed",
        "the same with checkpointed inner steps",
        "inner steps",
        (1, 2, 5, 10, 20),
        (1, 2),
        lambda steps: train_inner_steps(steps, checkpointed=True),
    ),
    Curve(
        "voxels",
        "adapting a prototypical network to 10 volumes (2-way 5-shot), 3-D Conv-4",
        "voxels of a volume",
        tuple(side**3 for side in (16, 24, 28, 32, 40, 48)),
        (16**3, 24**3),
        adapt_to_volumes,
    ),
    Curve(
        "workers",
        "a step of second-order MAML, 8 tasks",
        "workers of one thread",
        (1, 2),
        (1, 2),
        train_with_workers,
    ),
    Curve(
        "tiles",
        "reading tiles of a slide and pooling their embeddings by attention",
        "tiles",
        (16, 64, 256, 1024, 4096),
        (4, 16),
        read_and_pool_tiles,
    ),
    Curve(
        "leads",
        "bringing ten seconds of a signal to its shape",
        "leads",
        (1, 3, 12, 48, 192),
        (1, 3),
        prepare_leads,
    ),
)

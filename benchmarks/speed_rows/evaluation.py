"""Rows of evaluation: 600 episodes with the encoding, and 10,000 more once all is encoded."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import peers
from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import HeadedLearner
from medmeta.training.allocator import keep_freed_memory
from speed_rows.networks import headed_learner, plain_encoder
from speed_rows.pictures import draw_pictures
from speed_rows.row import Goal, Job, Row, Setting, Side, seconds

CLASSES, PER_CLASS, SIZE, CHANNELS = 20, 40, 64, 3
WAY, SHOT, QUERY = 5, 5, 15
EPISODES, FURTHER = 600, 10_000
TASKS_PER_BATCH = 20  # as `medmeta evaluate` has it
IMAGES = f"{CLASSES * PER_CLASS} images of {SIZE}×{SIZE}"
SHAPE = f"{WAY}-way {SHOT}-shot, {QUERY} queries per class, Conv-4-64"


def images_in_memory(seed: int) -> Source:
    """The images of all these rows, decoded."""
    drawn = draw_pictures(CLASSES, PER_CLASS, SIZE, CHANNELS, seed=seed)
    names = [f"class-{code:03d}" for code in range(CLASSES) for _ in range(PER_CLASS)]
    return Source.from_arrays(
        "pictures", drawn.reshape(-1, *drawn.shape[2:]).transpose(0, 3, 1, 2), names
    )


def protocol(episodes: int, seed: int) -> Protocol:
    """How the episodes are drawn."""
    return Protocol(
        sources=("pictures",),
        n_way=(WAY, WAY),
        n_shot=(SHOT, SHOT),
        n_query=QUERY,
        episodes=episodes,
        tasks_per_batch=TASKS_PER_BATCH,
        seed=seed,
    )


def ours(setting: Setting) -> Job:
    """``evaluate``: episodes per second, encoding included."""
    keep_freed_memory()  # as `medmeta evaluate` does
    torch.set_num_threads(setting.threads)
    source = images_in_memory(setting.seed)
    learner = headed_learner("prototypical", setting.seed, CHANNELS, SIZE).eval()
    asked = protocol(setting.count(EPISODES, 20), setting.seed)

    def turn(least: float) -> float:
        del least
        start = time.perf_counter()
        evaluate(learner, source, asked)
        return asked.episodes / (time.perf_counter() - start)

    def plain() -> int:
        evaluate(learner, source, asked)
        return asked.episodes

    return Job(turn, plain, check=lambda: embedded(learner.get_submodule("encoder"), source))


def embedded(encoder: torch.nn.Module, source: Source) -> list[float]:
    """Lengths of the first embeddings: the same from both sides' networks."""
    with torch.no_grad():
        return [float(e.norm()) for e in encoder.eval()(floats(source)[:3])]


def floats(source: Source) -> Tensor:
    """All images as the networks take them."""
    return as_float(torch.from_numpy(source.pixels.copy()))


class HeldImages(Dataset[tuple[Tensor, int]]):
    """Images in memory as a data set of pairs, which easyfsl wraps."""

    def __init__(self, images: Tensor, labels: list[int]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        return self.images[item], self.labels[item]


def easyfsl_evaluation(setting: Setting, *, features_first: bool) -> Job:
    """``easyfsl.utils.evaluate`` over a loader of tasks.

    ``features_first``: of features that its ``predict_embeddings`` made once, as its own benchmark
    script has them; else of images, as its README has it.
    """
    peers.load("easyfsl")
    datasets, there = peers.part_of("easyfsl.datasets"), peers.part_of("easyfsl.utils")
    network_of = peers.part_of("easyfsl.methods").PrototypicalNetworks
    sampler_of = peers.part_of("easyfsl.samplers").TaskSampler
    source = images_in_memory(setting.seed)
    network = plain_encoder(headed_learner("prototypical", setting.seed, CHANNELS, SIZE), CHANNELS)
    labels = [code for code in range(CLASSES) for _ in range(PER_CLASS)]
    held = HeldImages(floats(source), labels)
    # Without features first each episode costs the same, so that a tenth of them tells the rate.
    n_tasks = setting.count(EPISODES if features_first else EPISODES // 10, 20)

    def over(dataset: Any, model: Any) -> None:
        sampler = sampler_of(dataset, WAY, SHOT, QUERY, n_tasks)
        collate = sampler.episodic_collate_fn
        loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)
        there.evaluate(model, loader, device="cpu", use_tqdm=False)

    def turn(least: float) -> float:
        del least
        start = time.perf_counter()
        if features_first:
            images = DataLoader(held, batch_size=128)
            frame = there.predict_embeddings(images, network.eval())
            features = datasets.FeaturesDataset.from_dataframe(frame)
            over(features, network_of(torch.nn.Identity()))
        else:
            over(wrapped, network_of(network))
        return n_tasks / (time.perf_counter() - start)

    wrapped = datasets.WrapFewShotDataset(held)
    return Job(turn, check=lambda: embedded(network, source))


def further(name: str, setting: Setting) -> Job:
    """Seconds of 10,000 episodes on embeddings that an earlier evaluation left behind."""
    keep_freed_memory()
    torch.set_num_threads(setting.threads)
    source = images_in_memory(setting.seed)
    learner = cast(HeadedLearner, headed_learner(name, setting.seed, CHANNELS, SIZE).eval())
    encoded = EncodedSource(learner, source)
    encoded.hold(np.arange(len(source)))
    asked = protocol(setting.count(FURTHER, 100), setting.seed)

    def work() -> None:
        evaluate(learner, source, asked, encoded=encoded)

    return Job(seconds(work))


def _further_row(name: str, most: float) -> Row:
    return Row(
        name=f"further-10000-{name}",
        work=f"{FURTHER:,} further episodes of {IMAGES} once encoded, {name}, {SHAPE}",
        unit="s",
        ours=Side(partial(further, name)),
        goal=Goal("most", most, "ours"),
    )


def _against_easyfsl(name: str, note: str, goal: Goal | None, *, features_first: bool) -> Row:
    return Row(
        name=name,
        work=f"{EPISODES} evaluation episodes of {IMAGES} in memory, encoding included, {SHAPE}",
        unit="episodes/s",
        ours=Side(ours),
        theirs=Side(
            partial(easyfsl_evaluation, features_first=features_first),
            peer="easyfsl",
            called="easyfsl",
        ),
        goal=goal,
        note=note,
    )


ROWS: tuple[Row, ...] = (
    _against_easyfsl(
        "evaluate-600-easyfsl",
        "its evaluate() encodes each episode's images",
        Goal("least", 30),
        features_first=False,
    ),
    _against_easyfsl(
        "evaluate-600-easyfsl-features",
        "its predict_embeddings() first, then evaluate() on the features",
        None,
        features_first=True,
    ),
    _further_row("prototypical", 5),
    _further_row("ridge", 20),
)

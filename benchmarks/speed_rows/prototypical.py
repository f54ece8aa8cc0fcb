"""Rows of Prototypical Networks: training from a folder of PNG files, loading included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episode import Episode
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.spans import recorded
from speed_rows.networks import headed_learner
from speed_rows.ours import TrainingStep, on_device, plain_step
from speed_rows.pictures import seeded_episode, write_folder
from speed_rows.prototypical_peers import easyfsl_job, learn2learn_job
from speed_rows.row import Goal, Job, Row, Setting, Side, rate

FOREVER = 10**9


@dataclass(frozen=True)
class Recipe:
    """What is trained on: ``n_classes`` folders of ``per_class`` pictures, and its episodes."""

    slug: str
    size: int
    channels: int
    n_classes: int
    per_class: int
    way: int
    shot: int
    n_query: int
    encoder: str = "conv4"

    @property
    def words(self) -> str:
        """For the table."""
        shape = f"{self.way}-way {self.shot}-shot, {self.n_query} queries per class"
        pictures = f"{self.n_classes * self.per_class:,} PNG files of {self.size}×{self.size}"
        name = {"conv4": "Conv-4-64", "resnet12": "ResNet-12"}[self.encoder]
        return f"prototypical training, {shape}, {name}, from {pictures}"

    def pictures(self, setting: Setting) -> Path:
        """Where the folders of classes lie."""
        return setting.folder / f"png-{self.slug}" / "images"


SMALL = Recipe("28", 28, 1, n_classes=100, per_class=20, way=5, shot=5, n_query=15)
LARGE = Recipe("64", 64, 3, n_classes=64, per_class=40, way=5, shot=5, n_query=15)
WIDE = Recipe("60way", 28, 1, n_classes=100, per_class=20, way=60, shot=1, n_query=5)
RECIPES = (SMALL, LARGE, WIDE)


def prepare(recipe: Recipe, setting: Setting) -> None:
    """Write the pictures."""
    write_folder(
        recipe.pictures(setting).parent,
        recipe.n_classes,
        recipe.per_class,
        recipe.size,
        recipe.channels,
    )


def _opened(recipe: Recipe, setting: Setting) -> tuple[Source, float]:
    """The source, decoded into an empty cache, and the seconds that took."""
    cache = Path(mkdtemp(prefix="cache-", dir=setting.folder))
    preprocessing = Preprocessing(size=recipe.size, channels=1 if recipe.channels == 1 else 3)
    start = time.perf_counter()
    source = open_source(recipe.pictures(setting), preprocessing=preprocessing, cache=cache)
    return source, time.perf_counter() - start


def _episodes(recipe: Recipe, source: Source, setting: Setting) -> Iterator[Episode]:
    protocol = Protocol(
        sources=(source.name,),
        n_way=(recipe.way, recipe.way),
        n_shot=(recipe.shot, recipe.shot),
        n_query=recipe.n_query,
        seed=setting.seed,
    )
    loader = EpisodeLoader(TaskSampler([source], protocol), device=setting.device)
    return loader.batches(0, FOREVER)


def _fixed(recipe: Recipe, setting: Setting) -> Episode:
    shape = (recipe.channels, recipe.size, recipe.size)
    drawn = seeded_episode(setting.seed, 1, recipe.way, recipe.shot, recipe.n_query, shape)
    return on_device(drawn, setting.device)


def ours(recipe: Recipe, setting: Setting, *, share: bool = False) -> Job:
    """``medmeta train``'s step on the source; ``share``: the part of it that waits for images."""
    source, decoding = _opened(recipe, setting)
    learner = headed_learner(
        "prototypical",
        setting.seed,
        recipe.channels,
        recipe.size,
        way=recipe.way,
        encoder=recipe.encoder,
    ).to(setting.device)
    fixed = _fixed(recipe, setting)
    step = TrainingStep(learner, fixed, threads=setting.threads)
    episodes = _episodes(recipe, source, setting)

    def work() -> int:
        step(next(episodes))
        return 1

    def check() -> list[float]:
        return [float(learner.train().loss(fixed).mean())]

    def plain() -> int:
        plain_step(learner, fixed)
        return 1

    def beside() -> dict[str, Any]:
        return {"decode_once_seconds": round(decoding, 3), "images_decoded": len(source)}

    if share:
        return Job(partial(_waiting_share, rate(work)), beside=beside)
    return Job(rate(work), plain, check, beside)


def _waiting_share(turn: Callable[[float], float], least: float) -> float:
    """Seconds of the training thread that went into loading, over all of its seconds.

    What the loader prepares ahead, in a thread of its own, costs the step nothing unless it waits.
    """
    with recorded() as recording:
        start = time.perf_counter()
        turn(least)
        whole = time.perf_counter() - start
    return recording.own_seconds[0].get("load", 0.0) / whole


PEERS = {"easyfsl": easyfsl_job, "learn2learn": learn2learn_job}
_NOTES = {
    "easyfsl": "its EasySet reads files anew for each episode; its distance is not squared",
    "learn2learn": "its OnDeviceDataset holds all pictures in memory as floats",
}


def _rows(recipe: Recipe) -> tuple[Row, ...]:
    mine = Side(partial(ours, recipe))
    rows = [
        Row(
            name=f"prototypical-{recipe.slug}-{peer}",
            work=recipe.words,
            unit="episodes/s",
            ours=mine,
            theirs=Side(partial(make, recipe), peer=peer, called=peer),
            goal=Goal("least", 1.5),
            prepare=partial(prepare, recipe),
            note=_NOTES[peer],
        )
        for peer, make in PEERS.items()
    ]
    share = Row(
        name=f"prototypical-{recipe.slug}-load-share",
        work=f"share of a step that waits for images: {recipe.words}",
        unit="of the step",
        ours=Side(partial(ours, recipe, share=True)),
        goal=Goal("most", 0.05, "ours"),
        prepare=partial(prepare, recipe),
    )
    return (*rows, share)


ROWS: tuple[Row, ...] = tuple(row for recipe in RECIPES for row in _rows(recipe))

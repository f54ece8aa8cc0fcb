"""Rows of scale: drawing from ten million images, and evaluating on a million stored ones."""

from __future__ import annotations

import time
from functools import partial
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.data.index import Column, SourceIndex
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.evaluate import evaluate
from medmeta.training.allocator import keep_freed_memory
from speed_rows.networks import headed_learner
from speed_rows.row import Goal, Job, Row, Setting, Side, rate

CLASSES = 100
FEW, MANY_ROWS, MANY_IMAGES = 10_000, 10_000_000, 1_000_000
SIZE = 64
EPISODES = 600
DRAWS = 200


def numbered_source(n: int, pixels: NDArray[np.uint8]) -> Source:
    """A source of ``n`` different pictures in 100 classes (of 25 at least), patients unknown."""
    n_classes = min(CLASSES, n // 25)
    codes = (np.arange(n) % n_classes).astype(np.int32)
    index = SourceIndex(
        name="numbered",
        root=None,
        paths=(),
        array_rows=np.arange(n, dtype=np.int64),
        labels=Column(codes, tuple(f"class-{c:03d}" for c in range(n_classes))),
        values=None,
        patients=Column.unknown(n),
        sites=Column.unknown(n),
        modalities=Column.unknown(n),
        splits=Column.unknown(n),
        file_sizes=np.full(n, -1, dtype=np.int64),
    )
    rows = np.arange(n, dtype=np.int64)
    return Source(index, pixels, rows, rows.astype(np.uint64))


def imagined_source(n: int) -> Source:
    """One whose pictures take no memory: drawing touches none of them."""
    pixel = np.zeros((1, 1, 1, 1), dtype=np.uint8)
    return numbered_source(n, np.broadcast_to(pixel, (n, 1, SIZE, SIZE)))


def protocol(episodes: int, seed: int) -> Protocol:
    """5-way 5-shot, 15 queries per class."""
    return Protocol(
        sources=("numbered",),
        n_way=(5, 5),
        n_shot=(5, 5),
        n_query=15,
        episodes=episodes,
        tasks_per_batch=20,
        seed=seed,
    )


def drawing(n: int, setting: Setting) -> Job:
    """Microseconds of drawing one task."""
    source = imagined_source(setting.count(n, min(n, 100_000)))
    start = time.perf_counter()
    sampler = TaskSampler([source], protocol(0, setting.seed))
    opening = time.perf_counter() - start
    task = count()

    def turn(least: float) -> float:
        done, start = 0, time.perf_counter()
        while done == 0 or time.perf_counter() - start < least:
            for _ in range(DRAWS):
                sampler.draw(next(task))
            done += DRAWS
        return 1e6 * (time.perf_counter() - start) / done

    return Job(turn, beside=lambda: {f"seconds_to_open_{len(source)}": round(opening, 4)})


def write_store(setting: Setting, n: int) -> None:
    """``n`` pictures as a .npy file to be mapped, unless it is there."""
    path = setting.folder / f"pixels-{n}.npy"
    if path.exists():
        return
    unfinished = path.with_suffix(".unfinished")
    random = np.random.Generator(np.random.Philox(key=[setting.seed, n]))
    with unfinished.open("wb") as file:
        shape = (n, 1, SIZE, SIZE)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, n, 1000):
            file.write(random.bytes(min(1000, n - first) * SIZE * SIZE))
    unfinished.rename(path)


def prepare(setting: Setting) -> None:
    """Both stores."""
    for n in (_many(setting), _few(setting)):
        write_store(setting, n)


def _few(setting: Setting) -> int:
    return setting.count(FEW, 2_500)


def _many(setting: Setting) -> int:
    return setting.count(MANY_IMAGES, 5_000)


def evaluating(setting: Setting, *, many: bool) -> Job:
    """An evaluation on a mapped store; its process's memory is what counts."""
    keep_freed_memory()
    torch.set_num_threads(setting.threads)
    n = _many(setting) if many else _few(setting)
    pixels = np.load(setting.folder / f"pixels-{n}.npy", mmap_mode="r", allow_pickle=False)
    source = numbered_source(n, pixels)
    learner = headed_learner("prototypical", setting.seed, 1, SIZE).eval()
    asked = protocol(setting.count(EPISODES, 20), setting.seed)

    def work() -> int:
        evaluate(learner, source, asked)
        return asked.episodes

    return Job(rate(work))


ROWS: tuple[Row, ...] = (
    Row(
        name="draw-10-million",
        work=f"drawing a 5-way 5-shot task from {MANY_ROWS:,} images against from {FEW:,}",
        unit="µs/task",
        ours=Side(partial(drawing, MANY_ROWS), threads=(1,)),
        theirs=Side(partial(drawing, FEW), threads=(1,), called=f"from {FEW:,}"),
        goal=Goal("most", 1.3),
    ),
    Row(
        name="memory-million-images",
        work=f"memory of {EPISODES} episodes of {MANY_IMAGES:,} stored images of {SIZE}×{SIZE}, "
        f"Conv-4-64, against {FEW:,} images",
        unit="MB",
        ours=Side(partial(evaluating, many=True), threads=(2,)),
        theirs=Side(partial(evaluating, many=False), threads=(2,), called=f"with {FEW:,}"),
        goal=Goal("most", 300, "difference"),
        prepare=prepare,
        measures="memory",
        pace="episodes/s",
        turns=1,
    ),
)

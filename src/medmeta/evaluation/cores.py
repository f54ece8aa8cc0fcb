"""Work shared out among the cores: threads that each have a part of them for torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

from medmeta.learner import AbstractLearner

Item = TypeVar("Item")
Made = TypeVar("Made")
PROCESSOR = torch.device("cpu")
MOST_THREADS = 8  # each holds a batch's feature maps
FEW_IMAGES = 100


def side_by_side(
    work: Callable[[Item], Made],
    items: Iterable[Item],
    *,
    device: torch.device = PROCESSOR,
    light: bool = True,
) -> Generator[Made, None, None]:
    """``map`` by up to eight threads, torch's cores shared out among them; results in order.

    That is faster than one piece after the other with all cores, for these wait for each other at
    every layer of a network, and for whatever else runs on one of them. ``light``: the caller
    keeps to one core too, since what it does with the results is little (torch's idle threads
    would spin on the others). At most twice as many items as threads are ahead. ``no_grad`` and
    ``autocast`` belong to a thread: ``work`` must enter them itself. On another ``device`` than
    the processor all is done here, one piece after the other.

    >>> list(side_by_side(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    cores = torch.get_num_threads()
    if cores == 1 or device.type != PROCESSOR.type:
        yield from map(work, items)
        return
    threads = min(cores, MOST_THREADS)
    left = iter(items)
    waiting: deque[Future[Made]] = deque()
    each = (cores // threads,)
    pool = ThreadPoolExecutor(threads, "core", initializer=torch.set_num_threads, initargs=each)
    try:
        if light:
            torch.set_num_threads(1)
        while True:
            for item in islice(left, 2 * threads - len(waiting)):
                waiting.append(pool.submit(work, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # also for threads that are yet to come


@contextmanager
def on_one_core(wanted: bool = True) -> Iterator[None]:
    """Within it torch keeps to one core, where that is ``wanted``: right for many small pieces.

    Threads that share a piece of a few hundred numbers wait for each other longer than they work,
    above all where something else runs on a core.

    >>> with on_one_core():
    ...     torch.get_num_threads()
    1
    """
    cores = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(cores)


def is_light(learner: AbstractLearner, n_images: int) -> bool:
    """Whether learning a task is many small pieces: a head on the embeddings of a few images."""
    return learner.traits.has_head and n_images <= FEW_IMAGES

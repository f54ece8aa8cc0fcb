"""Tasks whose queries are made worse, and nothing else: the support is as it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medmeta.data.quality import spoilt
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskDraw, TaskSampler


class WithSpoiltQueries:
    """A source's tasks, and the same tasks with their queries made worse.

    Only images that the tasks use are held. ``source`` holds them as they are, ``worse`` the
    queries of one fault and severity behind them.
    """

    def __init__(self, source: Source, protocol: Protocol) -> None:
        sampler = TaskSampler([source], protocol)
        self.dropped = sampler.dropped
        draws = [sampler.draw(i) for i in range(protocol.episodes)]
        self.shapes = sampler
        used = [part for d in draws for part in (d.support_rows, d.query_rows)]
        rows = np.unique(np.concatenate(used))
        asked = np.unique(np.concatenate([d.query_rows for d in draws]))
        self.source = source.take(rows)
        self._pixels = np.asarray(source.gather(rows))
        self._asked = np.searchsorted(rows, asked)
        self.draws: Sequence[TaskDraw] = [
            replace(
                d,
                support_rows=np.searchsorted(rows, d.support_rows),
                query_rows=np.searchsorted(rows, d.query_rows),
            )
            for d in draws
        ]

    def as_taken(self) -> TaskSampler:
        """The tasks as they are, of ``source``."""
        return _Redrawn(self.source, self.shapes, self.draws)

    def worse(self, fault: str, severity: int) -> tuple[Source, TaskSampler]:
        """A source with the spoilt queries behind the others, and the tasks that ask about them."""
        n = len(self.source)
        made = spoilt(self._pixels[self._asked], fault, severity, self.shapes.protocol.seed)
        both = self.source.take(np.concatenate([np.arange(n), self._asked]))
        pixels = np.concatenate([self._pixels, made])
        source = replace(both, pixels=pixels, pixel_rows=np.arange(len(pixels)))
        place = np.full(n, -1)
        place[self._asked] = n + np.arange(len(self._asked))
        draws = [replace(d, query_rows=place[d.query_rows]) for d in self.draws]
        return source, _Redrawn(source, self.shapes, draws)


class _Redrawn(TaskSampler):
    """Tasks that were drawn before, as rows of another source."""

    def __init__(self, source: Source, shapes: TaskSampler, draws: Sequence[TaskDraw]) -> None:
        self.sources = (source,)
        self.protocol = shapes.protocol
        self.pools, self.dropped = shapes.pools, shapes.dropped
        self._shapes, self._draws = shapes, draws

    def shape(self, batch: int) -> tuple[Target, int]:
        """As they were drawn."""
        return self._shapes.shape(batch)

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``."""
        return self._draws[task]

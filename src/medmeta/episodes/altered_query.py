"""Tasks whose query images come in another version than their support: noisier, more blurred."""

from __future__ import annotations

from dataclasses import replace

from medmeta.data.source import Source
from medmeta.data.versions import SourceVersions
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskDraw, TaskSampler


class AlteredQuery(TaskSampler):
    """The tasks of a source, their query in version number ``version`` (0: as it is).

    Classes, support and query are the same for all versions, so answers compare task by task.
    ``versions`` are those of ``source``; drawn rows are of them.
    """

    def __init__(
        self, source: Source, versions: SourceVersions, protocol: Protocol, *, version: int
    ) -> None:
        super().__init__([source], protocol)
        self.sources = (versions,)
        self._first = version * len(source)

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``."""
        drawn = super().draw(task)
        return replace(drawn, query_rows=drawn.query_rows + self._first)

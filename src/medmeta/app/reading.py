"""Pictures and volumes read in parts; something made of each part, side by side and in order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medmeta.app.asked import Asked
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import UnreadableImageError
from medmeta.evaluation.cores import side_by_side

SHOWN = 10
PART = 16
Progressed = Callable[[int, int], None]
Made = TypeVar("Made")


@dataclass(frozen=True)
class AskedFiles:
    """What was asked about: pictures and volumes that could be read, and why others could not.

    ``labels`` ``(Q,)``: the class that the image's folder is called by, else -1. ``counts``
    ``(Q,)``: how many pictures were read of each, more than one of a volume. ``notes``: what must
    be said of them together.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    problems: tuple[tuple[Path, str], ...]
    counts: NDArray[np.int64]
    volumes: int = 0
    notes: tuple[str, ...] = ()


class Reading:
    """Pictures and volumes being read, and what was found of them so far.

    ``problems`` are those known before. ``progress`` is called with the files done and their
    number.
    """

    def __init__(
        self,
        asked: Sequence[Asked],
        preprocessing: Preprocessing,
        *,
        skip_bad: bool,
        problems: Sequence[tuple[Path, str]] = (),
        progress: Progressed | None = None,
    ) -> None:
        self.asked = asked
        self.preprocessing = preprocessing
        self.skip_bad = skip_bad
        self.progress = progress
        self.good: list[Asked] = []
        self.counts: list[int] = []
        self.problems: list[tuple[Path, str]] = list(problems)
        self._done = 0

    def parts(
        self, make: Callable[[NDArray[Any]], Made], size: int = PART, *, light: bool = True
    ) -> Generator[Made, None, None]:
        """``make`` of the images ``(q, C, H, W)`` of ``size`` files at a time, in order.

        Of volumes, whose slices are an image each, as many as have about that many. It is called
        by several threads, as ``side_by_side`` does it. Raises ``UnreadableImageError`` at the end
        where some cannot be read and may not be left out; the files after the first such are read
        only to say which cannot be either.
        """
        if any(item.is_volume for item in self.asked):
            size = max(1, size // self.preprocessing.slices)
        chunks = [self.asked[i : i + size] for i in range(0, len(self.asked), size)]
        work = partial(self._part, make=make)
        # Warnings are silenced for all threads at once, as their filters belong to the process.
        with warnings.catch_warnings(), closing(side_by_side(work, chunks, light=light)) as parts:
            warnings.simplefilter("ignore")
            for read, made in parts:
                self._note(read)
                if made is not None:
                    yield made
        if self.problems and (not self.skip_bad or not self.good):
            raise self._unreadable()

    def files(self, class_names: Sequence[str]) -> AskedFiles:
        """What was found, once all were read."""
        code = {name: i for i, name in enumerate(class_names)}
        labels = [item.label(code) for item in self.good]
        return AskedFiles(
            tuple(item.path for item in self.good),
            np.array(labels, dtype=np.int64),
            tuple(self.problems),
            np.array(self.counts, dtype=np.int64),
            sum(item.is_volume for item in self.good),
        )

    def _part(
        self, asked: Sequence[Asked], make: Callable[[NDArray[Any]], Made]
    ) -> tuple[list[int | str], Made | None]:
        """How many pictures files gave, or why they cannot be read; and what is made of these."""
        read: list[int | str] = []
        pictures: list[NDArray[Any]] = []
        for item in asked:
            try:
                found = item.read(self.preprocessing)
                pictures += found
                read.append(len(found))
            except UnreadableImageError as error:
                read.append(item.told(str(error)))
        bad = self.problems or any(isinstance(entry, str) for entry in read)
        hopeless = not self.skip_bad and bad
        return read, None if hopeless or not pictures else make(np.stack(pictures))

    def _note(self, read: Sequence[int | str]) -> None:
        for entry in read:
            item = self.asked[self._done]
            self._done += 1
            if isinstance(entry, str):
                self.problems.append((item.path, entry))
            else:
                self.good.append(item)
                self.counts.append(entry)
        if self.progress is not None:
            self.progress(self._done, len(self.asked))

    def _unreadable(self) -> UnreadableImageError:
        n, shown = len(self.problems), self.problems[:SHOWN]
        listed = "".join(f"\n  {text}" for _, text in shown)
        more = f"\n  and {n - SHOWN} more" if n > SHOWN else ""
        advice = "Mend or remove them, or leave them out with --skip-bad."
        return UnreadableImageError(
            f"{n} of {n + len(self.good)} images cannot be read:{listed}{more}\n"
            f"{advice if self.good else 'None is left; check that these are images.'}"
        )

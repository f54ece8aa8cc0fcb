"""Files of images read in parts, and something made of each part, side by side and in order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.errors import UnreadableImageError
from medmeta.evaluation.cores import side_by_side

SHOWN = 10
PART = 16
Progressed = Callable[[int, int], None]
Made = TypeVar("Made")


@dataclass(frozen=True)
class AskedFiles:
    """Files that were asked about: those that could be read, and why the others could not.

    ``labels`` ``(Q,)``: the class that the image's folder is called by, else -1.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    problems: tuple[tuple[Path, str], ...]


class Reading:
    """Files being read, and what was found of them so far.

    ``progress`` is called with the files done and their number.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        *,
        skip_bad: bool,
        progress: Progressed | None = None,
    ) -> None:
        self.paths = paths
        self.preprocessing = preprocessing
        self.skip_bad = skip_bad
        self.progress = progress
        self.good: list[Path] = []
        self.problems: list[tuple[Path, str]] = []

    def parts(
        self, make: Callable[[NDArray[np.uint8]], Made], size: int = PART, *, light: bool = True
    ) -> Generator[Made, None, None]:
        """``make`` of the images ``(q, C, H, W)`` of ``size`` files at a time, in order.

        It is called by several threads, as ``side_by_side`` does it. Raises
        ``UnreadableImageError`` at the end where some cannot be read and may not be left out; the
        files after the first such are read only to say which cannot be either.
        """
        chunks = [self.paths[i : i + size] for i in range(0, len(self.paths), size)]
        work = partial(self._part, make=make)
        # Warnings are silenced for all threads at once, as their filters belong to the process.
        with warnings.catch_warnings(), closing(side_by_side(work, chunks, light=light)) as parts:
            warnings.simplefilter("ignore")
            for reasons, made in parts:
                self._note(reasons)
                if made is not None:
                    yield made
        if self.problems and (not self.skip_bad or not self.good):
            raise self._unreadable()

    def files(self, class_names: Sequence[str]) -> AskedFiles:
        """What was found, once all were read."""
        code = {name: i for i, name in enumerate(class_names)}
        labels = [code.get(file.parent.name, -1) for file in self.good]
        return AskedFiles(tuple(self.good), np.array(labels, dtype=np.int64), tuple(self.problems))

    def _part(
        self, paths: Sequence[Path], make: Callable[[NDArray[np.uint8]], Made]
    ) -> tuple[list[str | None], Made | None]:
        """Why files cannot be read, None for those that can; and what is made of these."""
        reasons: list[str | None] = []
        pictures = []
        for path in paths:
            try:
                pictures.append(prepare(read_image(path).pixels, self.preprocessing))
                reasons.append(None)
            except UnreadableImageError as error:
                reasons.append(str(error))
        hopeless = not self.skip_bad and (self.problems or len(pictures) < len(paths))
        return reasons, None if hopeless or not pictures else make(np.stack(pictures))

    def _note(self, reasons: Sequence[str | None]) -> None:
        for reason in reasons:
            file = self.paths[len(self.good) + len(self.problems)]
            if reason is None:
                self.good.append(file)
            else:
                self.problems.append((file, reason))
        if self.progress is not None:
            self.progress(len(self.good) + len(self.problems), len(self.paths))

    def _unreadable(self) -> UnreadableImageError:
        n, shown = len(self.problems), self.problems[:SHOWN]
        listed = "".join(f"\n  {text}" for _, text in shown)
        more = f"\n  and {n - SHOWN} more" if n > SHOWN else ""
        advice = "Mend or remove them, or leave them out with --skip-bad."
        return UnreadableImageError(
            f"{n} of {len(self.paths)} images cannot be read:{listed}{more}\n"
            f"{advice if self.good else 'None is left; check that these are images.'}"
        )

"""Tasks of values, drawn by number: sinusoids, and lines to be measured off small images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.episode import Episode, LabelledSet, Target

VALUE = Target("values", 1)
SIDE = 32
SHORTEST, LONGEST = 6.0, 24.0  # pixels
STEEPEST = math.radians(75)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """How many tasks a batch has, and points of each; ``seed`` names the stream of batches."""

    points: int
    queries: int
    tasks: int
    seed: int

    def random(self, batch: int) -> np.random.Generator:
        """A generator of the batch alone."""
        return np.random.Generator(np.random.Philox(key=[self.seed, batch]))

    def episode(self, inputs: Floats, values: Floats, batch: int) -> Episode:
        """Inputs ``(T, S + Q, ...)`` and values ``(T, S + Q)``, the first S as support."""
        ids = torch.arange(self.tasks) + batch * self.tasks
        images = torch.from_numpy(inputs.astype(np.float32))
        labels = torch.from_numpy(values.astype(np.float32))[..., None]
        support = LabelledSet(images[:, : self.points], labels[:, : self.points], ids)
        return Episode(
            support, LabelledSet(images[:, self.points :], labels[:, self.points :], ids), VALUE
        )


@dataclass(frozen=True)
class Sinusoids:
    """``A sin(ω x + φ)``: A in 0.1 to 5, φ in 0 to π, x in -5 to 5.

    Finn, Abbeel and Levine 2017, section 5.1, where ω is 1; in Li et al. 2017 it varies too.
    """

    drawn: Drawn
    frequencies: tuple[float, float] = (1.0, 1.0)

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``."""
        for batch in range(first, last):
            random, tasks = self.drawn.random(batch), (self.drawn.tasks, 1)
            size = random.uniform(0.1, 5.0, tasks)
            phase = random.uniform(0, math.pi, tasks)
            frequency = random.uniform(*self.frequencies, tasks)
            x = random.uniform(-5, 5, (self.drawn.tasks, self.drawn.points + self.drawn.queries))
            yield self.drawn.episode(x[..., None], size * np.sin(frequency * x + phase), batch)


@dataclass(frozen=True)
class Lines:
    """A line on a noisy 32×32 image; a task asks for its length, or for its angle.

    Which of the two the support alone tells. Values go from 0 (6 pixels; -75°) to 1 (24 pixels;
    75°). Lines of a task have a thickness, a brightness and noise of their own.
    """

    drawn: Drawn
    noise: tuple[float, float] = (0.05, 0.2)

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``."""
        for batch in range(first, last):
            random, drawn = self.drawn.random(batch), self.drawn
            shape, tasks = (drawn.tasks, drawn.points + drawn.queries), (drawn.tasks, 1)
            of_length, of_angle = random.uniform(size=shape), random.uniform(size=shape)
            thickness = random.uniform(1.5, 3.0, tasks)
            images = draw_lines(of_length, of_angle, thickness, random.uniform(size=(2, *shape)))
            images *= random.uniform(0.5, 1.0, tasks)[..., None, None]
            loud = random.uniform(*self.noise, tasks)[..., None, None]
            images += loud * random.standard_normal(images.shape)
            asks_length = random.uniform(size=tasks) < 0.5
            values = np.where(asks_length, of_length, of_angle)
            yield drawn.episode(images[:, :, None], values, batch)


ValueTasks = Sinusoids | Lines


def draw_lines(of_length: Floats, of_angle: Floats, thickness: Floats, place: Floats) -> Floats:
    """Images ``(T, N, 32, 32)`` of one line each, from 0 to 1 with soft edges.

    ``of_length``, ``of_angle`` and both rows of ``place`` ``(2, T, N)`` are between 0 and 1.
    """
    half = (SHORTEST + (LONGEST - SHORTEST) * of_length) / 2
    angle = STEEPEST * (2 * of_angle - 1)
    along = np.stack([np.cos(angle), np.sin(angle)])
    room = (SIDE - 1) / 2 - half * np.abs(along) - 2
    centre = (SIDE - 1) / 2 + np.maximum(room, 0) * (2 * place - 1)
    column, row = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    grid = np.stack([column, row])[:, None, None] - centre[..., None, None]
    way = (grid * along[..., None, None]).sum(0)
    rest = grid - along[..., None, None] * np.clip(
        way, -half[..., None, None], half[..., None, None]
    )
    distance = np.sqrt((rest**2).sum(0))
    ink: Floats = np.clip(thickness[..., None, None] / 2 + 0.5 - distance, 0, 1)
    return ink


def other(kind: ValueTasks, **changes: int) -> ValueTasks:
    """The same kind with another number of points, queries or tasks, or of another seed."""
    return replace(kind, drawn=replace(kind.drawn, **changes))

"""The benchmark of memory-augmented networks: streams of characters, each label one step late.

    python benchmarks/mann_stream.py --data omniglot28.npz
    python benchmarks/mann_stream.py --data omniglot28.npz --without-strengths

Each stream holds five classes with ten drawings each, in an order drawn at random; the network
answers each image before it is told its label, and labels are bound anew to classes in each
stream. A class is a character in one of four rotations; each drawing is turned by up to π/16 and
shifted by up to 10 of 105 pixels, then averaged down to 20×20. Trained on the archive's background
characters, tested with the newest weights on its evaluation characters, of other alphabets (what
the archive holds: see ``omniglot.py``), and on 64 background characters that are kept out, of
alphabets that are known, as most are in the paper's split. A run that was stopped goes on from its
newest checkpoint. Figures so far are written at each test to ``docs/mann_stream.json`` and into the
table of ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mann_stream_table import write_table
from medmeta.episode import Episode, LabelledSet, Target
from medmeta.learners.memory.mann import MANNConfig, MANNHead, accuracy_by_instance
from medmeta.storage import write_json
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.loop import Report, Trainer
from medmeta.training.settings import TrainingSettings
from training_clock import TrainingClock

ROOT = Path(__file__).resolve().parents[1]
DATA = "shared/data/classification/omniglot28.npz"
CLASSES, INSTANCES, STREAMS, SIDE = 5, 10, 16, 20
TARGET = Target("classes", CLASSES)
MOST_TURN, MOST_SHIFT = np.pi / 16, 10 / 105
HELD_OUT_CHARACTERS, TEST_STREAMS, CURVE_STREAMS = 64, 1008, 160
TRAINING_SEED, TEST_SEED, CURVE_SEED = 0, 2026, 7


@dataclass(frozen=True)
class Streams:
    """Numbered batches of streams from ``characters`` ``(n, 20, 28, 28)``, ink 255 on 0."""

    characters: NDArray[np.uint8]
    seed: int
    device: str = "cpu"

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``: each is a function of the seed and its number."""
        return (self.batch(number) for number in range(first, last))

    def batch(self, number: int) -> Episode:
        """Streams of images ``(16, 50, 400)`` as support, without queries.

        The learner itself draws their order and binds the labels, by the streams' ids.
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        n_characters, n_drawings = self.characters.shape[:2]
        chosen = np.stack(
            [random.choice(4 * n_characters, CLASSES, replace=False) for _ in range(STREAMS)]
        )
        every = np.tile(np.arange(n_drawings), (STREAMS, CLASSES, 1))
        drawings = random.permuted(every, axis=2)[..., :INSTANCES]
        images = self.characters[chosen[..., None] // 4, drawings].reshape(-1, 1, 28, 28)
        quarters = np.broadcast_to(chosen[..., None] % 4, drawings.shape).reshape(-1)
        turns = quarters * np.pi / 2 + random.uniform(-MOST_TURN, MOST_TURN, len(images))
        shifts = random.uniform(-MOST_SHIFT, MOST_SHIFT, (len(images), 2))
        drawn = torch.from_numpy(images).to(self.device)
        seen = moved(drawn, turns, shifts).reshape(STREAMS, -1, SIDE * SIDE)
        labels = torch.arange(CLASSES, device=self.device).repeat_interleave(INSTANCES)
        labels = labels.repeat(STREAMS, 1)
        ids = torch.arange(STREAMS, device=self.device) + STREAMS * number
        nothing = LabelledSet(seen[:, :0], labels[:, :0], ids)
        return Episode(LabelledSet(seen, labels, ids), nothing, TARGET)


def moved(images: Tensor, turns: NDArray[np.float64], shifts: NDArray[np.float64]) -> Tensor:
    """Images ``(n, 1, 28, 28)`` uint8, turned and shifted, at 20×20: ``(n, 1, 20, 20)``, 0 to 1.

    ``turns`` ``(n,)`` in radians, ``shifts`` ``(n, 2)`` as parts of the image's side.
    """
    rows = [np.cos(turns), -np.sin(turns), 2 * shifts[:, 0]]
    rows += [np.sin(turns), np.cos(turns), 2 * shifts[:, 1]]
    matrices = torch.from_numpy(np.stack(rows, axis=1).reshape(-1, 2, 3).astype(np.float32))
    grid = F.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float() / 255, grid, align_corners=False)
    return F.interpolate(turned, size=(SIDE, SIDE), mode="area")


def load_characters(path: Path) -> tuple[NDArray[np.uint8], ...]:
    """Characters to train on, those held out of them for the curve, and those of the test."""
    with np.load(path, allow_pickle=False) as archive:
        ink, labels = 255 - archive["images"], archive["labels"]
        is_test = archive["class_is_evaluation"].astype(bool)
    order = np.argsort(labels, kind="stable")
    characters = ink[order].reshape(len(is_test), -1, 28, 28)
    background = np.random.Generator(np.random.Philox(key=[0, 1])).permutation(
        np.flatnonzero(~is_test)
    )
    kept, out = background[HELD_OUT_CHARACTERS:], background[:HELD_OUT_CHARACTERS]
    return characters[kept], characters[out], characters[is_test]


def by_instance(learner: MANNHead, streams: Streams, n: int) -> Tensor:
    """Accuracies in per cent of about ``n`` streams, ``(n, 10)``; the learner's mode is kept."""
    rows = []
    with torch.no_grad():
        for episode in streams.batches(0, n // STREAMS):
            logits, labels = learner.stream(episode.support, TARGET)
            rows.append(100 * accuracy_by_instance(logits, labels, INSTANCES))
    return torch.cat(rows)


class Observer:
    """Draws the learning curve, tests, and writes both down while a run goes on."""

    def __init__(self, learner: MANNHead, arguments: argparse.Namespace, run: Path) -> None:
        _, held_out, test = load_characters(arguments.data)
        self.learner, self.arguments = learner, arguments
        device = arguments.device
        self.held_out = Streams(held_out, CURVE_SEED, device)
        self.test = Streams(test, TEST_SEED, device)
        self.known = Streams(held_out, TEST_SEED, device)
        self.clock = TrainingClock(run / "seconds.json")
        self.curve_file = run / "curve.json"

    def __call__(self, report: Report) -> None:
        """After each step: now and then a point of the curve, and less often a test."""
        ended = report.step == report.steps
        if report.step % self.arguments.curve_every == 0 or ended:
            found = by_instance(self.learner, self.held_out, CURVE_STREAMS).mean(0)
            seconds = self.clock.write(finished=ended)["seconds"]
            print(
                f"{report.step}/{report.steps} loss {report.loss:.4f} held out, by instance: "
                f"{_rounded(found)} after {seconds:.0f} s",
                flush=True,
            )
            self._add_point(report.step, _rounded(found))
        if report.step % self.arguments.test_every == 0 or ended:
            self._write_test(report)

    def curve(self) -> list[list[Any]]:
        """Steps, and accuracies by instance on held-out characters."""
        held = self.curve_file.exists()
        points: list[list[Any]] = json.loads(self.curve_file.read_text()) if held else []
        return points

    def _add_point(self, step: int, accuracies: list[float]) -> None:
        before = [point for point in self.curve() if point[0] < step]
        write_json(self.curve_file, [*before, [step, accuracies]])

    def _write_test(self, report: Report) -> None:
        result = {
            "learner": "mann",
            "key_strengths": not self.arguments.without_strengths,
            **self._tested(self.test),
            "known_alphabets": self._tested(self.known),
            "steps": report.step,
            "steps_planned": report.steps,
            **self.clock.write(finished=report.step == report.steps),
            "threads": torch.get_num_threads(),
            "device": self.arguments.device,
            "seed": TRAINING_SEED,
            "held_out_curve": self.curve(),
        }
        write_table(self.arguments.results, self.arguments.page, result)

    def _tested(self, streams: Streams) -> dict[str, Any]:
        found = by_instance(self.learner, streams, TEST_STREAMS)
        return {
            "characters": len(streams.characters),
            "accuracy_by_instance": _rounded(found.mean(0)),
            "interval": _rounded(1.96 * found.std(0) / len(found) ** 0.5),
            "streams": len(found),
        }


def _rounded(numbers: Tensor) -> list[float]:
    return [round(float(number), 2) for number in numbers]


def main() -> None:
    """Train, or go on, and write down what was reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA, help="the archive")
    parser.add_argument("--run", type=Path, help="default: runs/mann-stream, or …-plain")
    parser.add_argument(
        "--without-strengths", action="store_true", help="of keys, as the paper writes it"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "mann_stream.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--curve-every", type=int, default=500)
    parser.add_argument("--test-every", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    arguments = parser.parse_args()
    if arguments.run is None:
        plain = "-plain" if arguments.without_strengths else ""
        arguments.run = ROOT / "runs" / f"mann-stream{plain}"
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    torch.manual_seed(TRAINING_SEED)
    config = MANNConfig(streaming=True, key_strengths=not arguments.without_strengths)
    learner = MANNHead(config, SIDE * SIDE, CLASSES).to(arguments.device)
    settings = TrainingSettings(
        steps=arguments.steps,
        learning_rate=1e-3,
        clip_norm=10.0,
        validate_every=0,
        checkpoint_every=500,
        log_every=100,
        seed=TRAINING_SEED,
    )
    arguments.run.mkdir(parents=True, exist_ok=True)
    characters, _, _ = load_characters(arguments.data)
    Trainer(
        learner,
        Streams(characters, TRAINING_SEED, arguments.device),
        settings,
        arguments.run,
        {"learner": "mann", "options": config.model_dump()},
        report=Observer(learner, arguments, arguments.run),
    ).fit()


if __name__ == "__main__":
    main()

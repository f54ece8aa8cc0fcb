"""What the model in the box knows of trust: a prior learned on collections new to its weights.

    python benchmarks/past_tasks_patches.py --masks shared/data/segmentation/multi_tasks.npz \
        --out PATCHES
    python benchmarks/box_prior.py --patches PATCHES --work LESSONS --out NEW_BOX

On what the weights have learned from they would look too good: errors there are few, and fall fast.
So lessons are of ``pneumonia_cxr`` and of the collections of patches, by the very weights of the
box. How fast errors fall is measured where it is used: at five and at ten images of a class, on
many tasks; the exponent of a source is the slope between the two. Every cell (source, shot, way)
that is there in ``--work`` is not measured again. What was found goes into ``docs/box_prior.json``;
with ``--out`` the model in ``--box`` is written anew with the prior beside it, its weights as they
are, and ``medmeta.box`` pins it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from medmeta.app.models import load_model
from medmeta.app.trusting import PRIOR
from medmeta.data.sources import open_source
from medmeta.evaluation.encoded import EncodedSource
from medmeta.learner import HeadedLearner
from medmeta.storage import load_folder, save_folder, write_json
from medmeta.training.checkpoint import WEIGHTS
from medmeta.trust.prior import TrustPrior
from medmeta.trust.source_tasks import (
    SHOTS,
    Lesson,
    asked_tasks,
    lessons,
    prior_from,
    widest_sampler,
)

ROOT = Path(__file__).resolve().parents[1]
NEW_TO_IT = "pneumonia_cxr"
WAYS = (5, 2)
N_QUERY = 8  # of a class; the smallest collection has 19 images of each
FALLING = 10  # times as many tasks as lessons: a slope needs more than a mean
SEED = 2026


@dataclass(frozen=True)
class Fall:
    """The mean share of wrong answers of one source at each number of images of a class."""

    source: str
    wrong: dict[str, float]
    tasks: int

    @property
    def exponent(self) -> float:
        """The power by which errors fall from the fewest images to the most.

        >>> Fall("halved", {"5": 0.4, "10": 0.2}, 1).exponent
        1.0
        """
        fewest, most = min(SHOTS), max(SHOTS)
        ratio = self.wrong[str(fewest)] / self.wrong[str(most)]
        return math.log(ratio) / math.log(most / fewest)


class Cells:
    """What is measured of the sources, kept in files by cell."""

    def __init__(self, model: Path, work: Path, tasks: int) -> None:
        self.model, self.work, self.tasks = load_model(model), work, tasks
        self.learner = cast(HeadedLearner, self.model.learner)
        self.weights = self.model.card["sha256"][WEIGHTS][:12]

    def of(self, path: Path) -> tuple[list[Lesson], Fall]:
        """The lessons of one collection, and how its errors fall."""
        source = open_source(path, preprocessing=self.model.preprocessing)
        encoded = EncodedSource(self.learner, source, budget=2**30)
        found: list[Lesson] = []
        wrong: dict[str, float] = {}
        ways = sorted({min(way, len(source.index.class_names)) for way in WAYS})
        for shot in SHOTS:
            shares = []
            for way in ways:
                held = self._cell(encoded, shot, way)
                found += [Lesson(**row) for row in held["lessons"]]
                shares += held["wrong"]
            wrong[str(shot)] = float(np.mean(shares))
        return found, Fall(source.name, wrong, FALLING * self.tasks * len(ways))

    def _cell(self, encoded: EncodedSource, shot: int, way: int) -> dict[str, Any]:
        name = f"{encoded.source.name}-{shot}-{way}-{self.tasks}-{self.weights}.json"
        if not (self.work / name).is_file():
            before = time.process_time()
            taught = lessons(
                encoded, shot=shot, most_way=way, tasks=self.tasks, seed=SEED, n_query=N_QUERY,
                dear=True,
            )  # fmt: skip
            made = {
                "lessons": [asdict(one) for one in taught],
                "wrong": self._wrong(encoded, shot, way),
            }
            write_json(self.work / name, made)
            print(f"{name}: {time.process_time() - before:.0f} s", flush=True)
        held: dict[str, Any] = json.loads((self.work / name).read_text("utf-8"))
        return held

    def _wrong(self, encoded: EncodedSource, shot: int, way: int) -> list[float]:
        """The share of wrong answers of each of many tasks."""
        sampler = widest_sampler(
            encoded.source, shot=shot, most_way=way, tasks=FALLING * self.tasks, seed=SEED,
            n_query=N_QUERY,
        )  # fmt: skip
        if sampler is None:
            raise SystemExit(
                f"{encoded.source.name} cannot give tasks of {shot} images of a class."
            )
        asked = asked_tasks(self.learner, sampler, encoded, together=1)
        return [float((one.logits.argmax(1) != one.labels).mean()) for one in asked]


def with_prior(box: Path, out: Path, prior: TrustPrior) -> str:
    """Write a model folder with a prior beside its weights; the SHA-256 of its card."""
    card, parts = load_folder(box)
    told = {key: value for key, value in card.items() if key != "sha256"}
    content = json.dumps(prior.to_dict(), indent=2).encode() + b"\n"
    return save_folder(out, told, {**parts, PRIOR: content})


def main() -> None:
    """Measure what is missing, and write what was learned."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patches", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--box", type=Path, default=ROOT / "src/medmeta/box/medmeta-base")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tasks", type=int, default=8, help="of a cell")
    data = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    cells = Cells(given.box, given.work, given.tasks)
    paths = [given.data / f"{NEW_TO_IT}.npz", *sorted(given.patches.glob("*.npz"))]
    found, falls = zip(*(cells.of(path) for path in paths), strict=True)
    exponents = [one.exponent for one in falls]
    prior = prior_from([one for part in found for one in part], exponents=exponents)
    rows = [{**asdict(one), "exponent": round(one.exponent, 3)} for one in falls]
    write_json(ROOT / "docs" / "box_prior.json", {"prior": prior.to_dict(), "sources": rows})
    print(*rows, prior, sep="\n", flush=True)
    if given.out is not None:
        print(f"{given.out}: card {with_prior(given.box, given.out, prior)}")


if __name__ == "__main__":
    main()

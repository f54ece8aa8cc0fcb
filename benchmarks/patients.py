"""How much too good an evaluation looks when one patient may be learned from and asked about.

    python benchmarks/patients.py --episodes 2000

The same learners on tasks that keep patients (and identical pictures) apart, and on tasks that do
not look at patients. Two ways of asking: the difference of the means, and, among the tasks that
ignore patients, how often a query image is answered right whose patient is among the labelled
images of its class, against the other query images. Results go to docs/patients.json, the table to
docs/results.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from medmeta.app.baselines import encoded_sources
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.pools import class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.answers import Answers, from_embeddings
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.metrics import answered_right, softmax
from medmeta.learner import HeadedLearner
from medmeta.learners import build_learner
from medmeta.modes import answering
from medmeta.storage import write_json
from page_tables import replace_between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "patients.json"
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- patients table: begin -->", "<!-- patients table: end -->"
SOURCES = ("pneumonia_cxr", "oct_dme", "malaria_cells_iml")
LEARNERS = (("ridge", "hog_colour"), ("ridge", "pixels"))
SHOTS = (1, 5, 10)
SEED = 2026


class Counted:
    """Right answers of every query image, told apart by whether its patient was learned from."""

    def __init__(self) -> None:
        self.accuracy: list[float] = []
        self.met: list[NDArray[np.float64]] = []  # of each task: images met, of these right, ...
        self.shared_tasks = 0

    def add(self, part: Answers, groups: NDArray[np.int64]) -> None:
        """Count the answers to some tasks; ``groups`` ``(n,)`` number the source's patients."""
        right = answered_right(softmax(part.outputs.double().numpy()), part.labels.numpy())
        for draw, hits in zip(part.draws, right, strict=True):
            own = np.zeros(len(hits), dtype=bool)
            for label in range(len(draw.classes)):
                known = groups[draw.support_rows[draw.support_labels == label]]
                of_it = draw.query_labels == label
                own[of_it] = np.isin(groups[draw.query_rows[of_it]], known)
            self.accuracy.append(float(hits.mean()))
            self.shared_tasks += bool(own.any())
            self.met.append(np.array([own.sum(), hits[own].sum(), (~own).sum(), hits[~own].sum()]))

    def facts(self) -> dict[str, Any]:
        """What came of it, as JSON."""
        values = np.array(self.accuracy)
        met, met_right, others, others_right = np.sum(self.met, axis=0).tolist()
        return {
            "mean": float(values.mean()),
            "half": float(norm.ppf(0.975) * values.std(ddof=1) / math.sqrt(len(values))),
            "tasks_sharing": self.shared_tasks / len(values),
            "queries_met": met / (met + others),
            "right_if_met": met_right / met if met else None,
            "right_otherwise": others_right / others,
        }


def main() -> None:
    """Measure, write the JSON, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in SOURCES:
        for row in measured(asked.data / "classification" / f"{name}.npz", asked.episodes):
            rows.append(row)
            write_json(asked.results, rows)
            replace_between(asked.page, BEGIN, END, table(rows))


def measured(path: Path, episodes: int) -> Iterator[dict[str, Any]]:
    """Every learner at every shot, with patients apart and with patients ignored."""
    source = open_source(path, preprocessing=Preprocessing())
    spec = InputSpec(3, (64, 64))
    asked = protocol(source.name, 2, max(SHOTS), episodes, apart=True)
    way = len(class_pools(source, asked)[0])  # of the classes, those with enough patients
    for learner_name, encoder in LEARNERS:
        torch.manual_seed(0)
        options = {"encoder": {"name": encoder}}
        learner = build_learner(learner_name, options, spec, Target("classes", way)).eval()
        (encoded,) = encoded_sources([learner], source)
        assert encoded is not None
        for shot in SHOTS:
            found = {}
            for how, apart in (("apart", True), ("ignored", False)):
                drawn = protocol(source.name, way, shot, episodes, apart=apart)
                sampler = TaskSampler([source], drawn)
                found[how] = _answered(learner, source, sampler, encoded)
            gap = found["ignored"]["mean"] - found["apart"]["mean"]
            half = math.hypot(found["ignored"]["half"], found["apart"]["half"])
            print(source.name, learner_name, encoder, shot, f"{100 * gap:.2f} ± {100 * half:.2f}")
            yield {
                "source": source.name, "learner": learner_name, "encoder": encoder, "way": way,
                "shot": shot, "episodes": episodes, "seed": SEED, **found,
                "difference": gap, "half": half,
            }  # fmt: skip


def protocol(name: str, way: int, shot: int, episodes: int, *, apart: bool) -> Protocol:
    """Tasks of all classes that are large enough, 10 queries each."""
    return Protocol(
        sources=(name,),
        n_way=(way, way),
        n_shot=(shot, shot),
        n_query=10,
        episodes=episodes,
        tasks_per_batch=20,
        patient_disjoint=apart,
        drop_small_classes=True,
        seed=SEED,
    )


def _answered(
    learner: object, source: Source, sampler: TaskSampler, encoded: EncodedSource
) -> dict[str, Any]:
    counted = Counted()
    headed = cast(HeadedLearner, learner)
    with answering(headed):
        for part in from_embeddings(headed.head, sampler, encoded):
            counted.add(part, source.groups)
    return counted.facts()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| source | learner | shots | patients apart, % | patients ignored, % "
        "| too good by, points | tasks that share one "
        "| right where the patient was learned from, % | right elsewhere, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        apart, ignored = row["apart"], row["ignored"]
        met = ignored["right_if_met"]
        lines.append(
            f"| {row['source']}, {row['way']}-way | {row['learner']} on {row['encoder']} "
            f"| {row['shot']} | {100 * apart['mean']:.2f} ± {100 * apart['half']:.2f} "
            f"| {100 * ignored['mean']:.2f} ± {100 * ignored['half']:.2f} "
            f"| {100 * row['difference']:+.2f} ± {100 * row['half']:.2f} "
            f"| {100 * ignored['tasks_sharing']:.0f} % "
            f"| {'–' if met is None else f'{100 * met:.1f}'} "
            f"| {100 * ignored['right_otherwise']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

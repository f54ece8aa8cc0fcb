"""The table of past tasks that the learner ``auto`` starts from, made on source data.

    python benchmarks/past_tasks.py --data FOLDER_OF_NPZ --work /tmp/past --model MODEL_OR_RUN

Draws tasks of every source at several shapes, answers each with every candidate, and keeps per cell
(source, shot, way) what held-out images said and what was true. From all cells come the table, and
the weights of its parts, fitted with each task's own source left out; both go into the package. Any
cell that is there in ``--work`` is not made again. ``--save-model FOLDER`` writes the model with
the learner ``auto`` and with the variances of the sources' embeddings. Without ``--model`` an
untrained network stands in. Name only sources that no result is ever reported on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.app.assembling import with_head
from medmeta.app.baselines import untrained_model
from medmeta.app.models import LoadedModel, load_model
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.synthetic import synthetic_sources
from medmeta.episode import Target, any_tensor
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError
from medmeta.evaluation.encoded import EncodedSource
from medmeta.learner import HeadedLearner
from medmeta.learners.auto.candidates import candidates_of
from medmeta.learners.auto.choosing import Choice
from medmeta.learners.auto.comparing import compare, draw_rounds
from medmeta.learners.auto.fitting import fit
from medmeta.learners.auto.head import AutoHead
from medmeta.learners.auto.past import TABLE, task_features
from medmeta.learners.auto.searching import parts_of, task_kernels
from medmeta.modes import answering
from medmeta.storage import save_folder, write_json
from medmeta.training.checkpoint import WEIGHTS, tensors_to_bytes
from past_tasks_table import CellData, Cells, table_of

REAL = ("pbc_blood", "mednist", "pneumonia_cxr")
SYNTHETIC = "synthetic"
SHOTS = (1, 2, 5, 10, 20)
WAYS = (2, 3, 5)
N_QUERY = 15
UNTRAINED = {
    "name": "resnet10",
    "options": {"widths": (24, 64, 160, 320), "embed": "stages"},
}
OF_STATISTICS = 300  # images of a source by which variances are found
PACKAGE = Path(__file__).resolve().parents[1] / "src" / "medmeta" / "learners" / "auto"


@dataclass(frozen=True)
class Shape:
    """A cell of the table."""

    source: str
    shot: int
    way: int

    def file(self, work: Path) -> Path:
        """Where what was measured is kept."""
        return work / f"{self.source}-{self.shot}-{self.way}.npz"


def main() -> None:
    """Make what is missing, then the table."""
    asked = _arguments()
    asked.work.mkdir(parents=True, exist_ok=True)
    learner, model = learner_of(asked.model)
    sources = opened(asked.data, asked.sources, model.preprocessing)
    encoded = {s.name: EncodedSource(learner, s, budget=2**30) for s in sources}
    if asked.variances:
        learn_variances(learner, encoded)
    digest = _check_same(asked.work, learner, asked.tasks)
    cells = list(measured(learner, encoded, asked.work, tasks=asked.tasks, seed=asked.seed))
    table = table_of(Cells.of(_head(learner).sizes, cells), made_with={"encoder": digest})
    write_json(asked.out, table.model_dump(mode="json"))
    print(f"{asked.out}: {len(table.cells)} cells, {table.checked}")
    if asked.save_model is not None:
        save_model(asked.save_model, learner, model)


def learner_of(place: Path | None) -> tuple[HeadedLearner, LoadedModel]:
    """``auto`` on the encoder of a model, or on an untrained ResNet-10."""
    if place is None:
        images = Preprocessing(size=64, channels=3)
        model = untrained_model("ridge", {"encoder": UNTRAINED}, images, Target("classes", 5))
    else:
        model = load_model(place)
    spec = model.preprocessing.input_spec
    own = model.learner
    if model.card["learner"] != "auto":
        own = with_head(model.learner, "auto", {}, spec, Target("classes", 5))
    assert isinstance(own, HeadedLearner)
    return own.eval(), model


def _head(learner: HeadedLearner) -> AutoHead:
    assert isinstance(learner.head, AutoHead)
    return learner.head


def opened(folder: Path, names: Sequence[str], preprocessing: Preprocessing) -> list[Source]:
    """The sources of these names: archives in a folder, or all that are drawn."""
    found: list[Source] = []
    for name in names:
        if name == SYNTHETIC:
            found += synthetic_sources(
                size=preprocessing.size, channels=preprocessing.channels, seed=11
            )
        else:
            found.append(open_source(folder / f"{name}.npz", preprocessing=preprocessing))
    return found


def learn_variances(learner: HeadedLearner, encoded: dict[str, EncodedSource]) -> None:
    """Give the head the variances within sources, the mean over them."""
    random, found = np.random.default_rng(5), []
    for held in encoded.values():
        n = len(held.source)
        rows = np.sort(random.permutation(n)[:OF_STATISTICS])
        held.hold(rows)
        found.append(held.of(rows).double().var(0, correction=0))
    _head(learner).variances.copy_(torch.stack(found).mean(0))


def measured(
    learner: HeadedLearner,
    encoded: dict[str, EncodedSource],
    work: Path,
    *,
    tasks: int,
    seed: int,
) -> Iterator[CellData]:
    """Every cell, from its file where that is there."""
    for name, held in encoded.items():
        for shot in SHOTS:
            for way in WAYS:
                shape = Shape(name, shot, way)
                file = shape.file(work)
                if not file.is_file():
                    found = _measure(learner, held, shape, tasks=tasks, seed=seed)
                    if found is None:
                        continue
                    found.save(file)
                    accuracy = found.truth.mean(0)
                    print(f"{file.stem}: {accuracy.mean():.3f} to {accuracy.max():.3f}", flush=True)
                yield CellData.load(file, name, shot, way)


def _measure(
    learner: HeadedLearner, encoded: EncodedSource, shape: Shape, *, tasks: int, seed: int
) -> CellData | None:
    """All candidates on the tasks of one cell; None where the source has no such tasks."""
    protocol = Protocol(
        sources=(encoded.source.name,), n_way=(shape.way, shape.way),
        n_shot=(shape.shot, shape.shot), n_query=N_QUERY, episodes=tasks,
        drop_small_classes=True, seed=seed,
    )  # fmt: skip
    try:
        sampler = TaskSampler([encoded.source], protocol)
    except SamplingError:
        return None
    loader, rows = EpisodeLoader(sampler, [encoded.of]), []
    with answering(learner):
        for number in range(tasks):
            draw = sampler.draw(number)
            encoded.hold(np.concatenate([draw.support_rows, draw.query_rows]))
            rows.append(_task(_head(learner), loader, number))
    columns: list[Any] = [_stacked(column) for column in zip(*rows, strict=True)]
    return CellData(shape.source, shape.shot, shape.way, *columns)


def _stacked(column: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Tasks on top of each other; fewer folds than the most are filled up with zeros."""
    most = np.max([np.shape(one) for one in column], axis=0).astype(int)
    filled = [
        np.pad(one, [(0, n - own) for n, own in zip(most, np.shape(one), strict=True)])
        for one in column
    ]
    return np.stack(filled)


def _task(head: AutoHead, loader: EpisodeLoader, number: int) -> tuple[NDArray[np.float32], ...]:
    """Of one task: features, held-out loss, accuracy and answers; true answers and accuracy."""
    episode = loader.batch(number, 1)
    support, query, target = episode.support, episode.query, episode.target
    candidates = candidates_of(tuple(head.sizes), "classes")
    embeddings = parts_of(any_tensor(support.inputs), head.sizes)
    variances = head.known_variances()
    features = task_features(support.labels, target.size, task_kernels(embeddings))[0]
    rounds = draw_rounds(support, target)
    temperature = [1.0] * len(candidates)
    held: list[NDArray[np.float32]] = [np.full(len(candidates), np.nan)] * 2
    asked = np.zeros((1, support.n_examples))
    likely = np.zeros((len(candidates), 1, support.n_examples, target.size))
    if rounds is not None:
        compared = compare(embeddings, support, target, rounds, candidates, variances)
        held = [compared.loss[0].numpy(), compared.accuracy[0].numpy()]
        likely, asked = compared.likely[0].numpy(), rounds.ask[0].numpy()
        temperature = compared.temperature[0].tolist()
    queries = {n: e[0] for n, e in parts_of(any_tensor(query.inputs), head.sizes).items()}
    known = {name: part[0] for name, part in embeddings.items()}
    answers = []
    for candidate, own in zip(candidates, temperature, strict=True):
        choice = Choice(members=(candidate.name,), temperatures=(own,))
        answer = fit(choice, known, support.labels[0], target, variances)(queries)
        answers.append(answer.log_softmax(-1).numpy())
    logits, labels = np.stack(answers), query.labels[0].numpy()
    truth = (logits.argmax(-1) == labels).mean(-1)
    return (
        features.numpy(), *held, likely.astype(np.float16), asked, support.labels[0].numpy(),
        logits.astype(np.float16), labels, truth,
    )  # fmt: skip


def save_model(folder: Path, learner: HeadedLearner, model: LoadedModel) -> None:
    """A model folder whose own learner is ``auto``, with what the head knows of sources."""
    options = {**model.card["options"], "tried": None, "choice": None, "hand_made": True}
    encoder = options["encoder"]
    card = {k: v for k, v in model.card.items() if k != "sha256"}
    kept = {k: options[k] for k in ("tried", "choice", "hand_made")}
    card |= {"learner": "auto", "options": {"encoder": encoder, **kept}}
    weights = tensors_to_bytes(learner.state_dict())
    print(f"{folder}: {save_folder(folder, card, {WEIGHTS: weights})}")


def _check_same(work: Path, learner: HeadedLearner, tasks: int) -> str:
    """Refuse a work folder of another encoder; the encoder's digest."""
    weights = tensors_to_bytes(learner.state_dict())
    digest = hashlib.sha256(weights).hexdigest()
    names = [c.name for c in candidates_of(tuple(_head(learner).sizes), "classes")]
    every = hashlib.sha256("\n".join(names).encode()).hexdigest()
    note, told = work / "made_with.txt", f"{digest} {tasks} {every}"
    if note.is_file() and note.read_text("utf-8") != told:
        raise SystemExit(
            f"{work} holds tasks of another model, number or list of candidates; name an "
            "empty --work."
        )
    note.write_text(told, "utf-8")
    return digest


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sources", nargs="+", default=[*REAL, SYNTHETIC])
    parser.add_argument("--tasks", type=int, default=12, help="tasks of a cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-variances", dest="variances", action="store_false")
    parser.add_argument("--save-model", type=Path)
    parser.add_argument("--out", type=Path, default=PACKAGE / TABLE)
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    main()

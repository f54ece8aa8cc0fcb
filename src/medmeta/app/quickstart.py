"""The main job from end to end on synthetic pictures, so that it works before anything is given."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmeta.app.evaluate_run import EvaluatedSource, EvaluationRequest, evaluate_model
from medmeta.app.images import read_images, write_predictions
from medmeta.app.models import load_model
from medmeta.app.report.building import Asking, predictor_report
from medmeta.app.report.page import write_report
from medmeta.app.support import open_support
from medmeta.app.terminal import command_line, err, percent, say, show_table, waiting
from medmeta.app.train_run import TrainRequest, train
from medmeta.app.trusting import trusted
from medmeta.app.workbench import adapt
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.splits import split_classes
from medmeta.data.synthetic import synthetic_sources
from medmeta.errors import SettingsError
from medmeta.training.settings import TrainingSettings

TEST_CLASSES = 4
SHOTS, QUERIES = 5, 12
LEAST = 15  # images of a class: 5 to learn from and 10 to ask about
SHOWN_SOURCE = "synthetic-histology"
MARK = ".medmeta-quickstart"
MADE = ("run", "support", "query", "predictor", "predictions.csv", "report.html")


@dataclass(frozen=True)
class Quickstart:
    """What was made, and what was reached."""

    out: Path
    rows: tuple[EvaluatedSource, ...]
    right: int
    asked: int
    seconds: float

    def places(self) -> dict[str, object]:
        """Names and paths of what was made."""
        return {
            "report": self.out / "report.html",
            "trained run": self.out / "run",
            "support images": self.out / "support",
            "query images": self.out / "query",
            "predictor": self.out / "predictor",
            "predictions": self.out / "predictions.csv",
            "right answers": f"{self.right} of {self.asked} query images",
            "seconds in all": f"{self.seconds:.0f}",
        }

    def commands(self) -> list[str]:
        """The same steps with a person's own images, and the model that comes with the program.

        Not with the run made here: it has seen synthetic pictures for a minute.
        """
        words = (
            ("data", "inspect", "my_images"),
            ("adapt", "my_images", "--out", "my_predictor"),
            ("predict", "my_predictor", "new_images", "--out", "predictions.csv"),
            ("report", "my_predictor", "--query", "new_images", "--out", "report.html"),
        )
        return [command_line(*line) for line in words]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        places = {k.replace(" ", "_"): str(v) for k, v in self.places().items()}
        rows = [row.to_dict() for row in self.rows]
        return {**places, "evaluations": rows, "commands": self.commands()}


def run_quickstart(out: Path, *, steps: int, images_per_class: int, seed: int) -> Quickstart:
    """Draw, train, evaluate on new classes, adapt, predict, report; all of it under ``out``.

    Raises ``SettingsError`` where ``out`` holds something that an earlier quickstart did not make.
    """
    started = time.monotonic()
    _fresh_folder(out)
    say("1/6  drawing synthetic pictures")
    sources = synthetic_sources(images_per_class=images_per_class, seed=seed)
    training, testing = _split(sources, seed)
    classes = sum(len(s.index.class_names) for s in sources)
    say(
        f"     {classes} classes, {len(sources)} modalities, {sum(map(len, sources)):,} pictures; "
        f"{sum(len(s.index.class_names) for s in testing)} classes are kept for the test"
    )
    say("2/6  meta-training on tasks from the other classes")
    request = TrainRequest(
        learner="prototypical",
        options={"encoder": {"options": {"width": 32, "embed": "mean"}}},
        way="5",
        shot="1-5",
        query=5,
        tasks_per_step=2,
        training=TrainingSettings(
            steps=steps,
            learning_rate=2e-3,
            schedule="cosine",
            validate_every=max(1, steps // 5),
            checkpoint_every=max(1, steps // 2),
            seed=seed,
        ),
    )
    with waiting() as progress:
        trained = train(
            request,
            out / "run",
            sources=training,
            report=lambda r: progress("     training", r.step, r.steps, f"loss {r.loss:.2f}"),
        )
    if trained.outcome.reason == "interrupted":
        raise KeyboardInterrupt
    say("3/6  evaluating on classes it has never seen")
    model = load_model(out / "run")
    evaluation = EvaluationRequest(episodes=200, query=10, seed=seed)
    rows = evaluate_model(model, testing, evaluation)
    _show(rows)
    say("4/6  adapting to a folder of labelled pictures, as you would to your own")
    shown = next((s for s in testing if s.name == SHOWN_SOURCE), testing[0])
    _write_trees(shown, out, seed)
    support = open_support(out / "support", model.preprocessing)
    predictor = trusted(adapt(model, support.source), support.source, model, seed=seed)
    predictor.save(out / "predictor")
    say("5/6  predicting the others")
    asked = read_images([out / "query"], Preprocessing(), predictor.class_names)
    answers = predictor.predict(asked.pixels)
    write_predictions(out / "predictions.csv", predictor, asked, answers)
    say("6/6  writing the report")
    content = predictor_report(
        predictor,
        asked,
        Asking("A first task, from a few labelled pictures", command="medmeta quickstart"),
        run=out / "run",
    )
    write_report(out / "report.html", content)
    right = int((answers.outputs.argmax(1) == asked.labels).sum())
    return Quickstart(out, tuple(rows), right, len(asked.paths), time.monotonic() - started)


def _fresh_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file; --out names a folder.")
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise SettingsError(f"{out} holds other files; choose another --out.")
        for name in MADE:  # and nothing that the person has put beside
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            else:
                (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _split(sources: list[Source], seed: int) -> tuple[list[Source], list[Source]]:
    """Classes to train on, and classes to test on, of every modality."""
    training, testing = [], []
    for source in sources:
        kept, out = split_classes(source.index.class_names, count=TEST_CLASSES, seed=seed)
        training.append(source.with_classes(kept))
        testing.append(source.with_classes(out))
    return training, testing


def _write_trees(source: Source, out: Path, seed: int) -> None:
    """A support and a query folder of PNG files, one sub-folder per class, no patient in both."""
    labels = source.index.labels
    assert labels is not None
    random = np.random.Generator(np.random.Philox(key=[seed, 5]))
    for code, name in enumerate(labels.names):
        rows = np.flatnonzero(labels.codes == code)
        rank = random.permutation(int(source.groups.max()) + 1)[source.groups[rows]]
        order = rows[np.argsort(rank, kind="stable")]
        support = order[:SHOTS]
        others = order[~np.isin(source.groups[order], source.groups[support])]
        for part, chosen in (("support", support), ("query", others[:QUERIES])):
            folder = out / part / name
            folder.mkdir(parents=True)
            for number, pixels in enumerate(source.gather(chosen)):
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number + 1:02d}.png")


def _show(rows: list[EvaluatedSource]) -> None:
    table = []
    for row in rows:
        content = row.to_dict()
        main = content["summary"]["accuracy"]
        low, high = percent(main["low"]), percent(main["high"])
        table.append(
            [
                row.evaluation.source,
                row.evaluation.protocol.n_way[1],
                row.evaluation.protocol.n_shot[0],
                f"{percent(main['mean'])} [{low}, {high}]",
                percent(content["baselines"]["chance"]["mean"]),
                percent(content["baselines"]["ridge on raw pixels"]["mean"]),
            ]
        )
    header = ["source", "way", "shot", "accuracy, % [95 %]", "chance", "raw ridge"]
    show_table("New classes, 200 tasks each", header, table, console=err)

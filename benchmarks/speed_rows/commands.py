"""Rows of what a person waits for: ``medmeta adapt`` and ``medmeta predict``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from medmeta.app.images import answer_images, read_images, write_predictions
from medmeta.app.models import LoadedModel, load_model
from medmeta.app.predictor import SavedPredictor
from medmeta.app.support import open_support
from medmeta.app.train_run import TrainRequest, train
from medmeta.app.workbench import adapt, load_predictor
from medmeta.data.preprocess import as_float
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.settings import TrainingSettings
from speed_rows.pictures import write_folder
from speed_rows.row import Goal, Job, Row, Setting, Side, rate, seconds

CLASSES, SHOTS, SIZE, CHANNELS = 5, 5, 64, 3
ASKED = 1000
ENCODERS = {"resnet12": "ResNet-12", "conv4": "Conv-4-64"}


def _support(setting: Setting) -> Path:
    return setting.folder / "support" / "images"


def _asked(setting: Setting) -> Path:
    return setting.folder / f"asked-{_n_asked(setting)}" / "images"


def _n_asked(setting: Setting) -> int:
    return setting.count(ASKED, 20)


def prepare(encoder: str, setting: Setting) -> None:
    """A folder to learn from, one to ask about, a run of two steps, and a predictor."""
    write_folder(_support(setting).parent, CLASSES, SHOTS, SIZE, CHANNELS)
    asked = _asked(setting).parent
    write_folder(asked, CLASSES, _n_asked(setting) // CLASSES, SIZE, CHANNELS)
    run = setting.folder / f"run-{encoder}"
    if not (run / "predictor").exists():
        shutil.rmtree(run, ignore_errors=True)
        request = TrainRequest(
            sources=(asked / "images",),
            encoder=encoder,
            way=str(CLASSES),
            shot="1",
            query=1,
            training=TrainingSettings(steps=2, validate_every=0),
            validation="none",
        )
        train(request, run)
        support = open_support(_support(setting), request.preprocessing).source
        adapt(load_model(run), support).save(run / "predictor")


def command(words: list[str], setting: Setting) -> None:
    """Run ``medmeta`` as a person does, with a cache that has seen nothing yet."""
    cache = mkdtemp(prefix="cache-", dir=setting.folder)
    environment = {**os.environ, "MEDMETA_CACHE": cache, "OMP_NUM_THREADS": str(setting.threads)}
    binary = Path(sys.executable).with_name("medmeta")
    subprocess.run([binary, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
    shutil.rmtree(cache)


def adapt_command(setting: Setting) -> Job:
    """Seconds of the whole command."""
    run = setting.folder / "run-resnet12"
    place = Path(mkdtemp(prefix="adapted-", dir=setting.folder))
    number = count()

    def work() -> None:
        out = place / str(next(number))
        words = ["adapt", str(_support(setting)), "--model", str(run), "--out", str(out)]
        command(words, setting)

    return Job(seconds(work))


def adapt_call(setting: Setting) -> Job:
    """Seconds of the call alone, the model loaded and the images decoded."""
    torch.set_num_threads(setting.threads)
    model: LoadedModel = load_model(setting.folder / "run-resnet12")
    source = open_support(_support(setting), model.preprocessing).source

    def plain() -> int:
        adapt(model, source)
        return 1

    return Job(seconds(lambda: adapt(model, source)), plain)


def predict_files(encoder: str, setting: Setting) -> Job:
    """Images per second, from PNG files to the CSV, the predictor loaded."""
    keep_freed_memory()  # as the command does
    torch.set_num_threads(setting.threads)
    run = setting.folder / f"run-{encoder}"
    predictor = load_predictor(run / "predictor")
    place = Path(mkdtemp(prefix="answers-", dir=setting.folder))

    def work() -> int:
        files, answers = answer_images(predictor, [_asked(setting)])
        write_predictions(place / "answers.csv", predictor, files, answers)
        return len(files.paths)

    def plain() -> int:
        _encode(predictor, _tensors(predictor, setting))
        return _n_asked(setting)

    def beside() -> dict[str, Any]:
        start = time.perf_counter()
        out = place / "command.csv"
        words = ["predict", str(run / "predictor"), str(_asked(setting)), "--out", str(out)]
        command(words, setting)
        return {"whole_command_seconds": round(time.perf_counter() - start, 3)}

    return Job(rate(work), plain, beside=beside)


def encode_tensors(encoder: str, setting: Setting) -> Job:
    """Images per second of the predictor's encoder, the images being tensors already."""
    keep_freed_memory()
    torch.set_num_threads(setting.threads)
    predictor = load_predictor(setting.folder / f"run-{encoder}" / "predictor")
    images = _tensors(predictor, setting)

    def work() -> int:
        _encode(predictor, images)
        return len(images)

    return Job(rate(work))


def _tensors(predictor: SavedPredictor, setting: Setting) -> torch.Tensor:
    read = read_images([_asked(setting)], predictor.preprocessing)
    return as_float(torch.from_numpy(read.pixels))


def _encode(predictor: SavedPredictor, images: torch.Tensor) -> None:
    learner: Any = predictor.task.learner
    with torch.no_grad():
        for first in range(0, len(images), predictor.batch_size):
            learner.encode(images[first : first + predictor.batch_size][None])


def _adapt_row(name: str, work: str, make: Callable[[Setting], Job], most: float) -> Row:
    return Row(
        name=name,
        work=f"{work} {CLASSES}×{SHOTS} images of {SIZE}×{SIZE}, prototypical on ResNet-12",
        unit="s",
        ours=Side(make),
        goal=Goal("most", most, "ours"),
        prepare=partial(prepare, "resnet12"),
    )


def _predict_row(encoder: str) -> Row:
    return Row(
        name=f"predict-{encoder}",
        work=f"answering {ASKED:,} PNG files of {SIZE}×{SIZE}, files to CSV, {ENCODERS[encoder]}",
        unit="images/s",
        ours=Side(partial(predict_files, encoder)),
        theirs=Side(partial(encode_tensors, encoder), called="its encoder alone, on tensors"),
        goal=Goal("least", 0.8),
        prepare=partial(prepare, encoder),
    )


ROWS: tuple[Row, ...] = (
    _adapt_row("adapt-command", "the whole command 'medmeta adapt' on", adapt_command, 4.0),
    _adapt_row("adapt-call", "adapt() alone on", adapt_call, 0.3),
    *(_predict_row(encoder) for encoder in ENCODERS),
)

"""Training from the command line: folders, resuming, and what is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from medmeta.app import train_run
from medmeta.app.run_folder import (
    check_folder,
    earlier_progress,
    fingerprint,
    load_seen,
    save_seen,
)
from medmeta.app.train_run import TrainRequest, train
from medmeta.app.trusting import PRIOR
from medmeta.data.index import Column
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError, StorageError
from medmeta.training.loop import Report
from medmeta.training.settings import TrainingSettings
from tests.app._typed import SMALL, folder, medmeta, refused, state

Copy = Callable[[Path], Path]


def training(workplace: Path, out: Path, *more: object) -> list[object]:
    return ["train", "--source", workplace / "trained", *SMALL, "--out", out, *more]


def test_a_run_holds_what_it_should(run: Path, workplace: Path) -> None:
    names = {path.name for path in run.iterdir()} - {"evaluations"}
    assert names == {"seen", "metrics.jsonl", "checkpoint-000000010", "model-000000010"}
    card = json.loads((run / "model-000000010" / "card.json").read_text())
    trained = {name for source in card["sources"] for name in source["classes"]}
    held = {name for source in card["validated_on"] for name in source["classes"]}
    assert len(trained) == 4
    assert len(held) == 2
    assert trained.isdisjoint(held)


def test_nothing_in_a_run_names_a_file_or_a_path(run: Path, workplace: Path) -> None:
    for file in (path for path in run.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert b"JaneDoe" not in content, file
        assert str(workplace).encode() not in content, file


def test_every_picture_seen_is_listed(run: Path, workplace: Path) -> None:
    source = open_source(workplace / "trained", preprocessing=Preprocessing(size=32))
    np.testing.assert_array_equal(load_seen(run), np.unique(source.hashes))


def test_a_run_is_not_overwritten(run: Path, workplace: Path) -> None:
    before = state(run)
    refused(*training(workplace, run), says="--resume")
    assert state(run) == before


def test_resuming_a_finished_run_does_nothing_and_says_so(run: Path, workplace: Path) -> None:
    before = state(run)
    ended = medmeta(*training(workplace, run, "--resume"))
    assert ended.code == 0
    assert "finished already, at step 10" in ended.err
    assert "finished already" in ended.out
    assert state(run) == before


def test_a_longer_run_goes_on(run: Path, workplace: Path, copied: Copy) -> None:
    longer = copied(run)
    ended = medmeta(*training(workplace, longer, "--resume", "--steps", "12", "--json"))
    assert ended.code == 0
    assert ended.json()["step"] == 12


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--learning-rate", "0.5"], "training.learning_rate was 0.001 and is now 0.5"),
        (["--query", "1"], "protocol.n_query was 2 and is now 1"),
        (["--learner", "ridge"], "learner was prototypical and is now ridge"),
        (["--fit", "crop"], "preprocessing.fit was pad and is now crop"),
    ],
    ids=str,
)
def test_resuming_with_other_settings(
    given: list[str], says: str, run: Path, workplace: Path
) -> None:
    before = state(run)
    refused(*training(workplace, run, "--resume", *given), says=says)
    assert state(run) == before


def test_resuming_with_other_images(run: Path, workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "trained", tmp_path / "trained")
    (tmp_path / "trained" / "alpha" / "JaneDoe-0-0.png").unlink()
    refused(*training(tmp_path, run, "--resume"), says="images")


def test_resuming_with_other_labels(run: Path, workplace: Path, tmp_path: Path) -> None:
    shutil.copytree(workplace / "trained", tmp_path / "trained")
    first, second = (next((tmp_path / "trained" / c).glob("*.png")) for c in ("alpha", "beta"))
    moved = tmp_path / "trained" / "alpha" / f"moved-{second.name}"
    second.rename(moved)
    first.rename(tmp_path / "trained" / "beta" / first.name)
    given = training(tmp_path, run, "--resume")
    refused(*given, says="the images or labels")


def test_a_fingerprint_tells_pictures_and_labels_in_any_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)

    def of(rows: list[int], labels: str) -> str:
        return fingerprint(Source.from_arrays("made", pixels[rows], list(labels)))

    assert of([0, 1, 2, 3], "aabb") == of([3, 1, 0, 2], "baab")
    others = [of([0, 1, 2, 3], "abab"), of([0, 1, 2, 2], "aabb"), of([0, 0, 1, 1], "aabb")]
    assert len({of([0, 1, 2, 3], "aabb"), of([2, 2, 3, 3], "aabb"), *others}) == 5
    values = [
        fingerprint(Source.from_arrays("made", pixels, values=np.array(told, np.float32)))
        for told in ((1, 2, 3, 4), (1, 2, 4, 3))
    ]
    assert values[0] != values[1]


def test_a_run_with_workers_goes_on_where_there_is_one_core(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16), dtype=np.uint8)
    source = Source.from_arrays("made", pixels, ["a", "b"] * 20)
    before = torch.get_num_threads()
    try:
        for threads, steps in ((2, 2), (1, 4)):
            torch.set_num_threads(threads)
            request = TrainRequest(
                learner="maml", way="2", shot="1", query=2, tasks_per_step=4, validation="none",
                options={"encoder": {"options": {"width": 4}}, "inner_steps": 1},
                preprocessing=Preprocessing(size=16, channels=1),
                training=TrainingSettings(steps=steps, task_map="loop-workers"),
            )  # fmt: skip
            done = train(request, tmp_path / "run", sources=[source], resume=threads == 1)
        assert done.outcome.progress.step == 4
    finally:
        torch.set_num_threads(before)


def test_what_is_learned_about_trust_is_of_the_newest_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    def keep(run: Path, *_: object, **__: object) -> None:
        kept.append(len(kept))
        (run / PRIOR).write_text("{}")

    monkeypatch.setattr(train_run, "keep_prior", keep)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16), dtype=np.uint8)
    source, run = Source.from_arrays("made", pixels, ["a", "b"] * 20), tmp_path / "run"

    def trained(steps: int, report: Callable[[Report], None] | None = None) -> None:
        request = TrainRequest(
            way="2", shot="1", query=2, validation="none",
            options={"encoder": {"options": {"width": 4}}},
            preprocessing=Preprocessing(size=16, channels=1),
            training=TrainingSettings(steps=steps, checkpoint_every=1),
        )  # fmt: skip
        train(request, run, sources=[source], resume=run.exists(), report=report)

    def killed(said: Report) -> None:
        if said.step == 4:
            raise KeyboardInterrupt

    trained(2)
    (run / PRIOR).unlink()  # as when the process ended between the last step and this
    trained(2)
    assert (run / PRIOR).exists()
    trained(2)
    assert kept == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        trained(6, killed)
    assert not (run / PRIOR).exists()
    trained(6)
    assert kept == [0, 1, 2]


def test_other_tasks_are_of_masks_only(workplace: Path, tmp_path: Path) -> None:
    given = training(workplace, tmp_path / "run", "--augment", "tasks")
    refused(*given, says="--augment tasks makes other tasks of masks")
    refused("pretrain", *given[1:3], "--augment", "tasks", "--out", tmp_path / "run",
            says="--augment tasks makes other tasks of masks")  # fmt: skip


@pytest.mark.parametrize("inside", ["alpha", ".git"])
def test_a_folder_with_other_things_is_left_alone(
    inside: str, workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / inside).mkdir(parents=True)
    (tmp_path / "mine" / inside / "precious").touch()
    before = state(tmp_path)
    refused(*training(workplace, tmp_path / "mine"), says=f"other folders ({inside})")
    refused(*training(workplace, tmp_path / "mine", "--resume"), says=f"other folders ({inside})")
    assert state(tmp_path) == before


def test_a_log_may_lie_in_the_folder_already(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").touch()
    check_folder(tmp_path / "run", resume=False)


@pytest.mark.parametrize("out", ["file", "file/run", "/proc/nowhere/run"])
def test_a_place_that_cannot_be_written(out: str, workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    refused(*training(workplace, tmp_path / out), says=str(tmp_path / out))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_source_given_twice(workplace: Path, tmp_path: Path) -> None:
    given = training(workplace, tmp_path / "run")
    refused(*given, "--source", workplace / "mine" / ".." / "trained", says="twice")


def test_sources_spread_after_one_flag(workplace: Path, tmp_path: Path) -> None:
    words = ["train", "--source", workplace / "trained", workplace / "mine", *SMALL]
    ended = medmeta(*words, "--steps", "1", "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended
    card = json.loads((tmp_path / "run" / "model-000000001" / "card.json").read_text())
    assert card["protocol"]["sources"] == ["trained", "mine"]


def test_a_source_with_fewer_classes_than_the_way(workplace: Path, tmp_path: Path) -> None:
    words = ["train", "--source", workplace / "trained", workplace / "mine", *SMALL]
    out = ["--steps", "1", "--validation", "none", "--out", tmp_path / "run"]
    refused(*words, *out, "--way", "5", says=("mine has 4", "--way 5"))
    assert medmeta(*words, *out, "--way", "2-5").code == 0


def test_an_identical_picture_in_two_classes(workplace: Path, tmp_path: Path) -> None:
    source = folder(tmp_path / "torn", ("a", "b", "c"), 6)
    shutil.copy(source / "a" / "JaneDoe-0-0.png", source / "b" / "other.png")
    ended = medmeta("train", "--source", source, *SMALL, "--steps", "1", "--out", tmp_path / "run")
    assert ended.code == 0
    assert "torn: warning: an identical picture lies in the classes a, b" in ended.err
    opened = open_source(source, preprocessing=Preprocessing(size=32))
    sampler = TaskSampler([opened], Protocol(sources=("torn",), n_way=(3, 3), n_query=4))
    for task in range(200):
        draw = sampler.draw(task)
        together = np.intersect1d(opened.hashes[draw.support_rows], opened.hashes[draw.query_rows])
        assert len(together) == 0


def test_seen_pictures_are_kept_once(tmp_path: Path) -> None:
    save_seen(tmp_path / "run", np.array([3, 1, 3], np.uint64))
    before = state(tmp_path)
    save_seen(tmp_path / "run", np.array([1, 3], np.uint64))
    assert state(tmp_path) == before
    save_seen(tmp_path / "run", np.array([2**64 - 1], np.uint64))
    assert load_seen(tmp_path / "run").tolist() == [2**64 - 1]


def test_progress_of_no_run(tmp_path: Path) -> None:
    assert earlier_progress(tmp_path, {}) is None
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file"):
        check_folder(tmp_path / "file", resume=False)


def test_stopping_by_ctrl_c_and_going_on(workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "a run"
    words = [str(w) for w in training(workplace, out, "--steps", "100000", "--validation", "none")]
    program = Path(sys.executable).with_name("medmeta")
    child = subprocess.Popen([program, *words], stderr=subprocess.PIPE, text=True)
    limit, log = time.monotonic() + 60, out / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size) and time.monotonic() < limit:
        time.sleep(0.05)  # until a step is made: a shell's background has it ignored before
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130, told
    assert "Traceback" not in told
    (line,) = [text for text in told.splitlines() if "Go on with: " in text]
    again = shlex.split(line.partition("Go on with: ")[2])
    assert again[-1] == "--resume"
    stood = max(int(p.name[-9:]) for p in out.glob("checkpoint-*"))
    again[again.index("100000")] = str(stood + 1)  # to end soon
    ended = medmeta(*again[1:], "--json")
    assert ended.code == 0, ended
    assert ended.json()["step"] == stood + 1


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file may be written beyond 2000 bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full(workplace: Path, run: Path, predictor: Path, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("earlier work")
    commands = (
        ["adapt", workplace / "mine", "--model", run, "--out", tmp_path / "p"],
        ["report", predictor, "--query", workplace / "asked", "--out", tmp_path / "r.html"],
        ["predict", predictor, workplace / "mine", "--out", tmp_path / "old.csv"],
    )
    before = state(tmp_path)
    for words in commands:
        with full_disk():
            refused(*words, says="could not be written")
    assert state(tmp_path) == before


def test_a_disk_that_is_full_while_training(workplace: Path, tmp_path: Path) -> None:
    given = training(workplace, tmp_path / "run", "--steps", "1", "--validation", "none")
    with full_disk():
        refused(*given, says=("model-000000001", "could not be written"))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"seen", "metrics.jsonl"}  # whole, and no hindrance to starting again
    assert medmeta(*given).code == 0


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(StorageError, match="seen could not be written"):
        save_seen(tmp_path / "run", np.arange(1000, dtype=np.uint64))
    assert state(tmp_path) == {}


def test_a_column_of_splits_that_is_not_followed_is_said_aloud(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32), np.uint8)
    plain = Source.from_arrays("s", pixels, [f"c{i // 8}" for i in range(24)])
    parts = Column.from_texts(["train", "test"] * 12)
    source = dataclasses.replace(plain, index=dataclasses.replace(plain.index, splits=parts))
    request = TrainRequest(
        way="2",
        shot="1",
        query=2,
        preprocessing=Preprocessing(size=32),
        training=TrainingSettings(steps=1),
        validation="none",
        options={"encoder": {"options": {"width": 4}}},
    )
    for given, said in ((plain, 0), (source, 1)):
        notes = train(request, tmp_path / str(said), sources=[given]).notes
        assert sum("splits (test, train) is not followed" in note for note in notes) == said

import errno
import json
import os
import signal
import threading
from functools import partial

import numpy as np
import pytest
import torch

from medmeta.episode import Episode, Target
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SettingsError, StorageError, UnsupportedTaskError
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner, Traits
from medmeta.storage import read_json
from medmeta.training import plan_choice
from medmeta.training.checkpoint import (
    WEIGHTS,
    model_folder,
    newest_checkpoint_card,
    tensors_from_bytes,
)
from medmeta.training.loop import Report
from medmeta.training.metrics_log import read_metrics
from tests.training.tiny_run import SOURCE, end_of, newest, state_of, tasks, tiny_learner, trainer

RESNET = {"encoder": "resnet12", "options": {"widths": (4, 4, 8, 8), "dropout": 0.3}}
in_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)


class Killed(BaseException):
    """Stands for the end of the process at this instant."""


class Slope(AbstractLearner):
    """Its loss is the sum of its two weights times ``steepness``: the gradient is known."""

    traits = Traits()

    def __init__(self, steepness=(3.0, 4.0)):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.steepness = torch.tensor(steepness)

    def adapt(self, support, target):
        raise NotImplementedError

    def loss(self, episode):
        return (self.weight * self.steepness).sum().expand(episode.support.n_tasks)


def stopping(step, how):
    """A report that ends the run at a step."""

    def report(said: Report):
        if said.step == step:
            how()

    return report


def die():
    raise Killed


def interrupt():
    signal.raise_signal(signal.SIGINT)


def run_killed_at(run, step, **settings):
    with pytest.raises(Killed):
        trainer(run, report=stopping(step, die), **settings).fit()


def model_weights(run):
    file = model_folder(run) / WEIGHTS
    return tensors_from_bytes(file.read_bytes(), where=file)


def test_it_learns(tmp_path):
    learner = tiny_learner()
    protocol = Protocol(
        sources=("easy",), n_way=(3, 3), n_shot=(1, 1), n_query=3, episodes=60, tasks_per_batch=60
    )
    before = evaluate(learner, SOURCE, protocol).summary["accuracy"]
    outcome = trainer(tmp_path, learner, steps=80, validate_every=0, checkpoint_every=80).fit()
    assert outcome.reason == "finished"
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    assert evaluate(learner, SOURCE, protocol).summary["accuracy"].low > before.high


@pytest.mark.parametrize("schedule", ["constant", "cosine", "halving"])
def test_each_step_has_its_learning_rate(tmp_path, schedule):
    own = {"halve_every": 5} if schedule == "halving" else {}
    made = trainer(
        tmp_path, Slope(), schedule=schedule, validate_every=0, optimiser="sgd", clip_norm=0, **own
    )
    made.fit()
    rates = [made.settings.rate_at(step) for step in range(12)]
    assert [line["learning_rate"] for line in read_metrics(tmp_path)] == rates
    moved = state_of(tmp_path)["learner.weight"].tolist()
    assert moved == pytest.approx([-3 * sum(rates), -4 * sum(rates)], rel=1e-5)


@pytest.mark.parametrize(("limit", "length"), [(0, 5.0), (2.0, 2.0), (100.0, 5.0)])
def test_the_gradient_is_bounded_in_length(tmp_path, limit, length):
    trainer(
        tmp_path, Slope(), steps=1, clip_norm=limit, optimiser="sgd", learning_rate=1.0,
        validate_every=0,
    ).fit()  # fmt: skip
    moved = state_of(tmp_path)["learner.weight"]
    assert moved.norm().item() == pytest.approx(length, rel=1e-5)
    assert (moved[1] / moved[0]).item() == pytest.approx(4 / 3)


def test_the_step_is_that_of_the_mean_over_tasks(tmp_path):
    learner, again = tiny_learner(), tiny_learner()
    trainer(
        tmp_path, learner, steps=1, clip_norm=0, optimiser="sgd", learning_rate=0.5,
        validate_every=0,
    ).fit()  # fmt: skip
    again.train().loss(tasks().batch(0)).mean().backward()
    for after, before in zip(learner.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.5 * before.grad)


def test_bfloat16_trains_weights_that_stay_float32(tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        assert trainer(run, precision=precision).fit().reason == "finished"
        losses[precision] = np.array([x["loss"] for x in read_metrics(run) if "loss" in x])
        floats = [t for t in state_of(run).values() if t.is_floating_point()]
        assert {t.dtype for t in floats} == {torch.float32}
    assert losses["float32"][0] == pytest.approx(losses["bfloat16"][0], rel=0.1)
    assert (losses["float32"] != losses["bfloat16"]).all()


class OneBad:
    """Batches of which one holds what is no number."""

    def __init__(self, bad):
        self.bad = bad

    def batches(self, first, last):
        for number, episode in enumerate(tasks().batches(first, last), start=first):
            if number == self.bad:
                spoilt = episode.support.with_inputs(episode.support.inputs * float("nan"))
                episode = Episode(spoilt, episode.query, episode.target)
            yield episode


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(tmp_path):
    trainer(tmp_path / "whole").fit()
    with pytest.raises(SettingsError, match=r"no longer a number at step 8; .*--learning-rate"):
        trainer(tmp_path / "run", episodes=OneBad(7)).fit()
    assert newest(tmp_path / "run").name == "checkpoint-000000006"
    trainer(tmp_path / "run").fit()
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


def test_a_gradient_that_is_no_number_ends_the_run(tmp_path):
    class Root(Slope):
        def loss(self, episode):
            return (self.weight.sum() * 0).sqrt().expand(2)

    learner = Root()
    with pytest.raises(SettingsError, match="its gradient is no longer a number at step 1"):
        trainer(tmp_path, learner, validate_every=0).fit()
    assert learner.weight.tolist() == [0, 0]


def test_a_learner_with_nothing_to_train_is_refused(tmp_path):
    frozen = tiny_learner()
    frozen.requires_grad_(False)
    for learner in (tiny_learner(encoder="pixels"), frozen):
        with pytest.raises(UnsupportedTaskError, match="has nothing to train"):
            trainer(tmp_path / "run", learner).fit()
    assert not (tmp_path / "run").exists()


def test_the_best_validated_weights_are_the_model(tmp_path):
    scores, seen = iter([0.1, 0.5, 0.3, 0.5]), []

    def validate(learner):
        assert not learner.training
        seen.append({k: t.clone() for k, t in learner.state_dict().items()})
        return next(scores)

    outcome = trainer(tmp_path, validate=validate, steps=16).fit()
    assert outcome.progress.best_step == 8  # the first of two that are equally good
    assert (outcome.progress.best_score, outcome.progress.waited) == (0.5, 2)
    assert read_json(model_folder(tmp_path) / "card.json")["step"] == 8
    model = model_weights(tmp_path)
    assert all(torch.equal(t, model[name]) for name, t in seen[1].items())
    assert [x["validation"] for x in read_metrics(tmp_path) if "validation" in x] == [
        0.1,
        0.5,
        0.3,
        0.5,
    ]


@pytest.mark.parametrize("score", [None, float("nan"), float("-inf")])
def test_without_a_score_the_last_weights_are_the_model(tmp_path, score):
    validate = None if score is None else lambda learner: score
    outcome = trainer(tmp_path, validate=validate).fit()
    assert outcome.progress.best_step == 12
    model = model_weights(tmp_path)
    last = state_of(tmp_path)
    assert all(torch.equal(t, last[f"learner.{name}"]) for name, t in model.items())
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_last_step_is_validated_whenever_it_comes(tmp_path):
    trainer(tmp_path, steps=10).fit()
    assert [x["step"] for x in read_metrics(tmp_path) if "validation" in x] == [4, 8, 10]


def shrinking(learner):
    """A score that is best at first: the weights only grow."""
    return -float(sum(p.detach().square().sum() for p in learner.parameters()))


def falling(tmp_path, **changes):
    return trainer(
        tmp_path, Slope(), validate=shrinking, validate_every=2, patience=3, steps=40, **changes
    )


@pytest.mark.parametrize("killed_at", [3, 5, 7])
def test_patience_ends_the_run_also_after_a_kill(tmp_path, killed_at):
    with pytest.raises(Killed):
        falling(tmp_path, report=stopping(killed_at, die)).fit()
    outcome = falling(tmp_path).fit()
    assert outcome.reason == "stopped_early"
    assert (outcome.progress.step, outcome.progress.best_step) == (8, 2)
    before = end_of(tmp_path)
    again = falling(tmp_path).fit()  # asked once more, it does not go on
    assert (again.reason, again.progress) == ("stopped_early", outcome.progress)
    assert end_of(tmp_path) == before


SETTINGS = {
    "adam and cosine": {"schedule": "cosine"},
    "dropout": {"learner": ("prototypical", RESNET), "schedule": "cosine"},
    "momentum": {"optimiser": "sgd", "momentum": 0.9, "schedule": "halving", "halve_every": 4},
    "weight decay": {"learner": ("ridge", {}), "optimiser": "adamw", "weight_decay": 0.1},
    "second order": {"learner": ("maml", {}), "task_map": "vmap"},
    "on workers": {"learner": ("maml", {}), "task_map": "loop-workers"},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, kind, request):
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(2)
    plain = dict(SETTINGS[kind])
    name, encoder = plain.pop("learner", ("prototypical", {}))

    def fit(run, **more):
        return trainer(run, tiny_learner(name, **encoder), **plain, **more).fit()

    assert fit(tmp_path / "whole").reason == "finished"
    for step in (2, 5, 6, 11):  # before the first checkpoint, between two, at one, near the end
        with pytest.raises(Killed):
            fit(tmp_path / "run", report=stopping(step, die))
        torch.manual_seed(step)  # another process has other chance
    fit(tmp_path / "run")
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        p.name for p in (tmp_path / "whole").iterdir()
    }


def test_a_resumed_run_takes_the_task_map_of_its_checkpoint(tmp_path, monkeypatch):
    """A machine may find another one faster on another day."""
    slow = {"loop": 2.0, "vmap": 1.0}
    monkeypatch.setattr(plan_choice, "_seconds", lambda gradient, _: slow[gradient.plan.method])
    told = []
    learner = tiny_learner("maml")
    with pytest.raises(Killed):
        trainer(tmp_path, learner, say=told.append, report=stopping(6, die)).fit()
    slow["loop"] = 0.1
    trainer(tmp_path, tiny_learner("maml"), say=told.append).fit()
    assert [text.split(".")[0] for text in told] == ["Tasks are run by vmap (2 tasks at once)"]
    card = newest_checkpoint_card(tmp_path)
    assert card["task_plan"] == {"method": "vmap", "workers": 1, "together": 2}


def test_dropout_is_at_work_in_these_runs(tmp_path):
    for dropout in (0.0, 0.3):
        options = {"widths": (4, 4, 8, 8), "dropout": dropout}
        learner = tiny_learner(encoder="resnet12", options=options)
        trainer(tmp_path / str(dropout), learner).fit()
    first, second = (read_metrics(tmp_path / name)[0]["loss"] for name in ("0.0", "0.3"))
    assert first != second


def test_each_step_is_logged_once(tmp_path):
    run_killed_at(tmp_path, 8)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    trainer(tmp_path).fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "loss" in x] == list(range(1, 13))
    assert [x["step"] for x in lines if "validation" in x] == [4, 8, 12]


def test_it_logs_as_often_as_asked(tmp_path):
    trainer(tmp_path, log_every=5, validate_every=0).fit()
    assert [x["step"] for x in read_metrics(tmp_path)] == [5, 10, 12]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first = trainer(tmp_path).fit()
    before = end_of(tmp_path)
    learner = tiny_learner()
    again = trainer(tmp_path, learner).fit()
    assert (again.reason, again.progress) == ("finished", first.progress)
    assert end_of(tmp_path) == before
    last = state_of(tmp_path)
    assert all(torch.equal(t, last[f"learner.{k}"]) for k, t in learner.state_dict().items())


def test_a_finished_run_can_be_made_longer(tmp_path):
    trainer(tmp_path / "whole", steps=20, validate=None).fit()
    for steps in (12, 20):
        trainer(tmp_path / "run", steps=steps, validate=None).fit()
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


def test_going_on_to_a_step_that_is_past_is_refused(tmp_path):
    run_killed_at(tmp_path, 7)
    before = end_of(tmp_path)
    with pytest.raises(SettingsError, match=r"stopped at step \d; .* ask for more steps .* not 4"):
        trainer(tmp_path, steps=4).fit()
    assert end_of(tmp_path) == before


def test_it_resumes_with_the_threads_it_began_with(tmp_path):
    run_killed_at(tmp_path, 7)
    assert newest_checkpoint_card(tmp_path)["threads"] == 1
    torch.set_num_threads(2)
    trainer(tmp_path).fit()
    assert torch.get_num_threads() == 1


@in_main_thread
@pytest.mark.parametrize("step", [1, 4, 7, 12])
def test_an_interrupt_saves_and_the_run_ends_the_same_later(tmp_path, step):
    trainer(tmp_path / "whole").fit()
    handler = signal.getsignal(signal.SIGINT)
    outcome = trainer(tmp_path / "run", report=stopping(step, interrupt)).fit()
    assert signal.getsignal(signal.SIGINT) is handler
    assert outcome.reason == ("interrupted" if step < 12 else "finished")
    assert outcome.progress.step == step
    assert newest(tmp_path / "run").name == f"checkpoint-{step:09d}"
    assert model_folder(tmp_path / "run").is_dir()
    assert trainer(tmp_path / "run").fit().reason == "finished"
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


@in_main_thread
def test_a_second_interrupt_ends_at_once(tmp_path, request):
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def twice():
        interrupt()
        interrupt()

    trainer(tmp_path / "whole").fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", report=stopping(7, twice)).fit()
    assert newest(tmp_path / "run").name == "checkpoint-000000006"
    trainer(tmp_path / "run").fit()
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


def test_it_trains_outside_the_main_thread(tmp_path):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(trainer(tmp_path, steps=2).fit()))
    thread.start()
    thread.join()
    assert outcomes[0].reason == "finished"


@pytest.mark.parametrize("last_save", [6, 9])
def test_a_full_disk_ends_the_run_and_nothing_is_lost(tmp_path, monkeypatch, last_save):
    trainer(tmp_path / "whole").fit()
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        fill_up = stopping(last_save, lambda: patch.setattr(os, "fsync", full))
        with pytest.raises(StorageError, match="No space left"):
            trainer(tmp_path / "run", report=fill_up).fit()
    assert os.fsync is real
    assert newest(tmp_path / "run").name == f"checkpoint-{last_save - 3:09d}"
    trainer(tmp_path / "run").fit()
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


def test_the_report_says_where_the_run_stands(tmp_path):
    said = []
    trainer(tmp_path, report=said.append).fit()
    assert [r.step for r in said] == list(range(1, 13))
    assert {r.steps for r in said} == {12}
    assert said[2].score is None
    assert said[3].score == said[4].score == read_metrics(tmp_path)[4]["validation"]


def test_the_card_goes_into_every_folder(tmp_path):
    trainer(tmp_path).fit()
    for folder in (newest(tmp_path), model_folder(tmp_path)):
        assert read_json(folder / "card.json")["what"] == "a test"


def test_what_batches_raise_is_raised(tmp_path):
    class Broken:
        def batches(self, first, last):
            raise UnsupportedTaskError(f"no {Target('classes', 2)}")
            yield

    with pytest.raises(UnsupportedTaskError):
        trainer(tmp_path, episodes=Broken()).fit()

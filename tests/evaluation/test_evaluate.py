import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SamplingError, SettingsError, UnsupportedTaskError
from medmeta.evaluation import answers, tally
from medmeta.evaluation.evaluate import evaluate
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners import EmbeddingLearner, build_learner
from tests.episodes.tables import table

WAY, SHOT, QUERY, EPISODES = 3, 2, 4, 10


def make_source():
    """Pictures whose first pixel says which of five classes, and the others nothing."""
    labels = np.arange(5).repeat(12)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 16, 16), dtype=np.uint8)
    pixels[:, 0, 0, 0] = labels * 40
    return Source.from_arrays("clinic", pixels, [f"class {c}" for c in labels])


CLINIC = make_source()


def protocol(**changes):
    plain = {"n_way": (WAY, WAY), "n_shot": (SHOT, SHOT), "n_query": QUERY, "episodes": EPISODES}
    return Protocol(sources=("clinic",), **{**plain, "tasks_per_batch": 4, **changes})


class ByFirstPixel(AbstractLearner):
    """Answers by the nearest first pixel: always right on ``CLINIC``."""

    traits = Traits(trainable=False)

    def adapt(self, support, target):
        def predict(inputs):
            gaps = inputs[:, :, None, 0, 0, 0] - support.inputs[:, None, :, 0, 0, 0]
            nearest = gaps.abs().argmin(-1)
            answers = support.labels.gather(1, nearest)
            return 20 * torch.nn.functional.one_hot(answers, target.size).float()

        return predict


class Constant(AbstractLearner):
    """Says ``logits`` whatever it is shown."""

    traits = Traits(trainable=False, targets=frozenset({"classes", "values"}))

    def __init__(self, *logits):
        super().__init__()
        self.logits = logits

    def adapt(self, support, target):
        output = torch.tensor(self.logits or (0.0,) * target.size)
        return lambda inputs: output.expand(*inputs.shape[:2], -1)


class NoHead(AbstractLearner):
    """An embedding learner that does not let on that it has a head."""

    def __init__(self, learner, one_by_one=False):
        super().__init__()
        self.inner = learner
        self.one_by_one = one_by_one
        self.traits = replace(learner.traits, has_head=False)

    def adapt(self, support, target):
        predictor = self.inner.adapt(support, target)
        if not self.one_by_one:
            return predictor
        return lambda images: torch.cat([predictor(x) for x in images.split(1, dim=1)], dim=1)


def conv(learner="prototypical", norm="running"):
    torch.manual_seed(0)
    encoder = {"name": "conv4", "norm": norm, "options": {"width": 4}}
    return build_learner(
        learner, {"encoder": encoder}, InputSpec(1, (16, 16)), Target("classes", WAY)
    )


@pytest.mark.parametrize("learner", ["prototypical", "ridge"])
def test_encoding_once_changes_nothing(learner):
    built = conv(learner)
    once, plain = (evaluate(x, CLINIC, protocol()) for x in (built, NoHead(built)))
    assert once.records.keys() == plain.records.keys()
    for name, column in once.records.items():
        np.testing.assert_allclose(column, plain.records[name], atol=1e-5)
    assert (once.confusion == plain.confusion).all()


def test_an_image_is_encoded_once(monkeypatch):
    built, seen = conv(), []
    encode = EmbeddingLearner.encode
    monkeypatch.setattr(
        EmbeddingLearner, "encode", lambda s, x: seen.append(x.shape[1]) or encode(s, x)
    )
    evaluate(built, CLINIC, protocol(episodes=30))
    assert sum(seen) == len(CLINIC)


@pytest.mark.parametrize("learner", ["prototypical", "maml"])
def test_tasks_answered_together_or_one_by_one_get_the_same_records(learner, monkeypatch):
    built = conv(learner, "running" if learner == "prototypical" else "group")
    asked = protocol(n_way=(2, 3), n_shot=(1, 2), tasks_per_batch=2)
    together = evaluate(built, CLINIC, asked)
    monkeypatch.setattr(answers, "TOGETHER", 1)
    alone = evaluate(built, CLINIC, asked)
    for name, column in together.records.items():
        np.testing.assert_allclose(alone.records[name], column, atol=1e-5)
    assert len({*zip(together.records["n_way"], together.records["n_shot"], strict=True)}) > 1


@pytest.mark.parametrize("learner", ["prototypical", "maml"])
def test_batches_only_say_which_tasks_have_one_shape(learner):
    built = conv(learner, "running" if learner == "prototypical" else "group")
    one, many = (evaluate(built, CLINIC, protocol(tasks_per_batch=n)) for n in (1, 10))
    for name, column in one.records.items():
        np.testing.assert_allclose(many.records[name], column, atol=1e-5)


def test_a_learner_is_given_no_more_images_than_fit(monkeypatch):
    monkeypatch.setattr(answers, "TOGETHER", 3 * 18 * 4 * 16 * 16)  # three tasks of 18 images
    sizes = []

    class Spy(Constant):
        def adapt(self, support, target):
            sizes.append(support.n_tasks)
            return super().adapt(support, target)

    evaluate(Spy(), CLINIC, protocol(tasks_per_batch=8))
    assert sizes == [3, 3, 3, 1]


def test_a_transductive_head_answers_each_task_s_queries_together():
    built = conv("bd_cspn")
    together, plain = (evaluate(x, CLINIC, protocol()) for x in (built, NoHead(built)))
    np.testing.assert_allclose(
        together.records["log_loss"], plain.records["log_loss"], rtol=1e-4, atol=1e-5
    )
    one_by_one = evaluate(NoHead(built, one_by_one=True), CLINIC, protocol())
    gap = np.abs(one_by_one.records["log_loss"] - together.records["log_loss"])
    assert gap.max() > 1e-3


@pytest.mark.parametrize("transductive_head", [False, True])
def test_an_encoder_that_couples_images_sees_each_task_apart(transductive_head):
    built = conv(norm="batch")
    built.head.traits = replace(built.head.traits, transductive=transductive_head)
    together, plain = (evaluate(x, CLINIC, protocol()) for x in (built, NoHead(built)))
    np.testing.assert_array_equal(together.records["log_loss"], plain.records["log_loss"])


def test_records_are_of_each_task_and_the_last_batch_may_be_short():
    steps = []
    found = evaluate(
        conv(), CLINIC, protocol(n_way=(2, 3)), progress=lambda *done: steps.append(done)
    )
    assert all(len(column) == EPISODES for column in found.records.values())
    assert found.records["task"].tolist() == list(range(EPISODES))
    assert set(found.records["n_way"].tolist()) <= {2, 3}
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert steps[-1] == (10, 10)
    assert found.confusion.sum() == found.records["n_way"].sum() * QUERY
    assert all(s.tasks == EPISODES for s in found.summary.values())
    whole = evaluate(conv(), CLINIC, protocol(n_way=(2, 3), episodes=12))
    for name, column in whole.records.items():
        np.testing.assert_array_equal(column[:EPISODES], found.records[name])


def test_the_confusion_is_by_the_sources_classes():
    found = evaluate(ByFirstPixel(), CLINIC, protocol())
    assert found.class_names == CLINIC.index.class_names
    assert (found.confusion == np.diag(found.confusion.diagonal())).all()
    assert found.confusion.sum() == EPISODES * WAY * QUERY
    first = evaluate(Constant(1.0, 0.0, 0.0), CLINIC, protocol())
    assert first.confusion.diagonal().sum() == EPISODES * QUERY
    assert (first.confusion.sum(1) == found.confusion.sum(1)).all()


def test_one_who_knows_is_always_right():
    found = evaluate(ByFirstPixel(), CLINIC, protocol())
    assert [found.summary[m].mean for m in ("accuracy", "balanced_accuracy", "auroc")] == [1, 1, 1]
    assert found.summary["brier"].mean < 1e-6
    assert found.calibration_error < 1e-6


def test_one_who_says_always_the_same_is_right_by_chance():
    found = evaluate(Constant(), CLINIC, protocol())
    assert found.summary["accuracy"].mean == pytest.approx(1 / WAY)
    assert found.summary["auroc"].mean == 0.5
    assert found.summary["log_loss"].mean == pytest.approx(np.log(WAY))
    assert found.calibration_error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["prototypical", "ridge", "first pixel"])
def test_answers_do_not_come_from_the_querys_labels(name, monkeypatch):
    learner = ByFirstPixel() if name == "first pixel" else conv(name)
    many, random, outputs = protocol(episodes=80), np.random.default_rng(0), []
    monkeypatch.setattr(tally, "softmax", lambda logits: outputs.append(logits) or softmax(logits))
    evaluate(learner, CLINIC, many)
    honest = np.concatenate(outputs)
    outputs.clear()
    fill = EpisodeLoader.fill

    def shuffled(self, draws, target):
        episode = fill(self, draws, target)
        labels = torch.from_numpy(random.permuted(episode.query.labels.numpy(), axis=1))
        return replace(episode, query=replace(episode.query, labels=labels))

    monkeypatch.setattr(EpisodeLoader, "fill", shuffled)
    found = evaluate(learner, CLINIC, many)
    assert np.array_equal(np.concatenate(outputs), honest)
    right = int(found.confusion.diagonal().sum())
    assert binomtest(right, 80 * WAY * QUERY, 1 / WAY).pvalue > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_the_learner_is_left_as_it_was(training):
    learner = conv().train(training)
    learner.encoder.train(not training)  # frozen by itself, or the other way round
    before = {name: t.clone() for name, t in learner.state_dict().items()}
    modes = [module.training for module in learner.modules()]
    evaluate(learner, CLINIC, protocol())
    assert [module.training for module in learner.modules()] == modes

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(learner, CLINIC, protocol(), progress=stop)
    assert [module.training for module in learner.modules()] == modes
    assert all(torch.equal(before[name], t) for name, t in learner.state_dict().items())
    assert all(p.grad is None for p in learner.parameters())


def test_it_measures_in_evaluation_mode_without_gradients():
    class Spy(Constant):
        def adapt(self, support, target):
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().adapt(support, target)

    evaluate(Spy(), CLINIC, protocol(episodes=1))


def test_small_classes_are_left_out_and_named():
    keep = np.r_[0:24, 24:28, 36:60]  # of class 2 only four images
    source = CLINIC.take(keep)
    with pytest.raises(SamplingError, match="class 2"):
        evaluate(ByFirstPixel(), source, protocol())
    found = evaluate(ByFirstPixel(), source, protocol(drop_small_classes=True))
    assert found.dropped == {"class 2": 4}
    assert found.confusion[2].tolist() == [0] * 5
    assert found.to_dict()["dropped"] == {"class 2": 4}


def test_values_are_measured_as_values():
    source = table(values=np.arange(30.0))
    valued = protocol(kind="values", n_way=(1, 1), n_query=8)
    found = evaluate(Constant(2.0), source, valued)
    assert found.class_names == ()
    assert found.confusion.shape == (0, 0)
    assert np.isnan(found.calibration_error)
    drawn = found.records["mean_absolute_error"]
    assert (drawn >= 0.4).all()  # eight different whole numbers around 2
    assert (found.records["r_squared"] <= 0).all()
    assert found.to_dict()["calibration_error"] is None


@pytest.mark.parametrize("learner", [ByFirstPixel(), Constant(float("nan"), 0.0, 0.0)])
def test_the_summary_is_plain_json(learner):
    found = evaluate(learner, CLINIC, protocol(episodes=1))
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Protocol(**json.loads(text)["protocol"]).digest() == json.loads(text)["protocol_digest"]
    assert json.loads(text)["summary"]["accuracy"]["tasks"] == 1
    assert json.loads(text)["summary"]["accuracy"]["low"] is None  # one task has no interval


def test_answers_that_are_no_numbers_are_wrong_ones():
    found = evaluate(Constant(float("nan"), 0.0, 0.0), CLINIC, protocol())
    assert found.summary["accuracy"].mean == 0
    assert found.summary["log_loss"].tasks == 0
    assert found.confusion.sum() == 0
    assert np.isnan(found.calibration_error)


def test_the_records_are_a_table():
    found = evaluate(ByFirstPixel(), CLINIC, protocol())
    rows = list(csv.DictReader(found.records_csv().splitlines()))
    assert [float(row["task"]) for row in rows] == list(range(EPISODES))
    assert {float(row["accuracy"]) for row in rows} == {1.0}
    assert rows[0].keys() == found.records.keys()


def test_the_same_protocol_gives_the_same_figures():
    first, second = (evaluate(conv(), CLINIC, protocol()) for _ in range(2))
    assert first.records_csv() == second.records_csv()


def test_a_protocol_without_end_is_refused():
    with pytest.raises(SettingsError, match="episodes"):
        evaluate(Constant(), CLINIC, protocol(episodes=0))


def test_too_many_classes_for_the_learner_are_refused():
    learner = Constant()
    learner.traits = replace(learner.traits, max_way=2)
    with pytest.raises(UnsupportedTaskError, match="at most 2 classes"):
        evaluate(learner, CLINIC, protocol())

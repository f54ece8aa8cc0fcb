"""Embeddings made once: which are made, which are kept, and that figures do not depend on it."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError
from medmeta.evaluation import answers, encoded
from medmeta.evaluation.encoded import EncodedSource, encodes_apart
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner, HeadedLearner, Traits
from medmeta.learners import build_learner
from medmeta.modes import answering

N = 40
SIZE = 8  # bytes of an embedding of FirstPixels


def make_source(n=N, side=16):
    """Pictures that begin with their row and its square."""
    pixels = np.random.default_rng(1).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(n), np.arange(n) ** 2 % 256
    return Source.from_arrays("s", pixels, [f"class {i % 4}" for i in range(n)])


SOURCE = make_source()


class FirstPixels(HeadedLearner):
    """Embeds a picture by its first two pixels, and remembers which it has seen."""

    traits = Traits(trainable=False, has_head=True)

    def __init__(self, stop_at=10**9):
        super().__init__()
        self.seen, self.stop_at = [], stop_at

    def encode(self, inputs):
        assert not self.training
        assert not torch.is_grad_enabled()
        pixels = ((inputs[0, :, 0, 0, :2] + 2) * 255 / 4).round()
        if len(self.seen) + len(pixels) > self.stop_at:
            raise KeyboardInterrupt
        self.seen += pixels[:, 0].int().tolist()
        return pixels[None]

    def adapt(self, support, target):
        raise NotImplementedError


def embeddings(rows):
    return torch.tensor(np.stack([rows, rows**2 % 256], -1), dtype=torch.float32)


def protocol(**changes):
    plain = {"n_way": (3, 3), "n_shot": (2, 2), "n_query": 3, "episodes": 12}
    return Protocol(sources=("s",), **{**plain, "tasks_per_batch": 4, **changes})


def conv(learner="prototypical"):
    torch.manual_seed(0)
    encoder = {"name": "conv4", "options": {"width": 4}}
    return build_learner(learner, {"encoder": encoder}, InputSpec(1, (16, 16)),
                         Target("classes", 3))  # fmt: skip


def drawn_rows(asked, first=0, last=None):
    sampler = TaskSampler([SOURCE], asked)
    draws = [sampler.draw(i) for i in range(first, last or asked.episodes)]
    return np.concatenate([np.r_[d.support_rows, d.query_rows] for d in draws])


def test_rows_come_back_as_their_embeddings():
    held = EncodedSource(FirstPixels().train(), SOURCE)
    rows = np.array([7, 3, 39, 7])
    held.hold(rows)
    assert torch.equal(held.of(rows), embeddings(rows))
    assert held.learner.training
    assert held.bytes_per_image == SIZE


def test_each_row_is_encoded_once_and_no_other():
    held = EncodedSource(FirstPixels(), SOURCE)
    held.hold(np.array([5, 1, 5]))
    held.hold(np.array([1, 5, 9]))
    assert held.learner.seen == [1, 5, 9]


@pytest.mark.parametrize("most", [1, 3, 7])
def test_batches_are_of_so_many_pixels(most, monkeypatch):
    monkeypatch.setattr(encoded, "PROCESSOR_BATCH", most * 16 * 16)
    sizes, steps = [], []

    class Spy(FirstPixels):
        def encode(self, inputs):
            sizes.append(inputs.shape[1])
            return super().encode(inputs)

    held = EncodedSource(Spy(), SOURCE, progress=lambda *done: steps.append(done))
    held.hold(np.arange(7))
    assert sum(sizes) == 7
    assert set(sizes[:-1]) <= {most}
    assert steps == [(int(done), 7) for done in np.cumsum(sizes)]
    assert torch.equal(held.of(np.arange(7)), embeddings(np.arange(7)))


def test_what_there_is_no_room_for_is_forgotten():
    held = EncodedSource(FirstPixels(), SOURCE, budget=5 * SIZE)
    held.hold(np.array([0, 1, 2]))
    assert held.room == 5
    held.hold(np.array([3, 4]))  # still has room
    held.hold(np.array([4, 5]))  # all but row 4 go
    assert torch.equal(held.of(np.array([5, 4])), embeddings(np.array([5, 4])))
    held.hold(np.array([0, 4]))
    assert held.learner.seen == [0, 1, 2, 3, 4, 5, 0]
    assert held.room == 5


def test_what_is_asked_for_at_once_is_held_whatever_the_budget():
    held = EncodedSource(FirstPixels(), SOURCE, budget=1)
    rows = np.arange(10, 30)
    for part in (rows[:3], rows, rows[5:]):
        held.hold(part)
        assert torch.equal(held.of(part), embeddings(part))
    assert held.room == 20


def test_the_table_is_no_larger_than_the_source():
    held = EncodedSource(FirstPixels(), SOURCE)
    held.hold(np.array([3]))
    assert held.room == N


def test_a_head_is_called_by_one_thread_at_a_time(monkeypatch):
    monkeypatch.setattr(answers, "TOGETHER", 1)

    class Picky(AbstractLearner):
        """Fails where two threads are in it at once."""

        traits = Traits(trainable=False, input_kinds=frozenset({"vector"}))

        def __init__(self):
            super().__init__()
            self.busy = False

        def adapt(self, support, target):
            assert not self.busy
            self.busy = True
            time.sleep(0.001)
            self.busy = False
            return lambda inputs: torch.zeros(*inputs.shape[:2], target.size)

    learner = FirstPixels()
    learner.head = Picky()
    torch.set_num_threads(4)
    found = evaluate(learner, SOURCE, protocol(episodes=60, n_way=(2, 3), n_shot=(1, 2)))
    assert len(found.records["accuracy"]) == 60


@pytest.mark.parametrize("stop_at", [0, 2, 5])
def test_an_interruption_leaves_what_was_encoded(stop_at, monkeypatch):
    monkeypatch.setattr(encoded, "PROCESSOR_BATCH", 2 * 16 * 16)
    held = EncodedSource(FirstPixels(stop_at), SOURCE, budget=6 * SIZE)
    with pytest.raises(KeyboardInterrupt):
        held.hold(np.arange(6))
    held.learner.stop_at = 10**9
    held.hold(np.arange(6))
    assert held.learner.seen == list(range(6))
    assert torch.equal(held.of(np.arange(6)), embeddings(np.arange(6)))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows_kept", [1, 20, 30])
@pytest.mark.parametrize("learner", ["prototypical", "ridge"])
def test_figures_do_not_depend_on_the_room_or_on_threads(learner, rows_kept, threads, monkeypatch):
    built = conv(learner)
    monkeypatch.setattr(encoded, "PROCESSOR_BATCH", 4 * 16 * 16)
    monkeypatch.setattr(answers, "TOGETHER", 1)
    asked = protocol(n_way=(2, 3), n_shot=(1, 2))
    plain = evaluate(built, SOURCE, asked)
    torch.set_num_threads(threads)
    small = EncodedSource(built, SOURCE, budget=rows_kept * 4 * 4)  # four numbers per embedding
    found = evaluate(built, SOURCE, asked, encoded=small)
    assert small.room == max(rows_kept, 3 * 5)  # the largest task has fifteen images
    for name, column in plain.records.items():
        np.testing.assert_allclose(found.records[name], column, atol=1e-6)
    assert (found.confusion == plain.confusion).all()


def test_only_images_of_the_tasks_are_encoded(monkeypatch):
    built, asked, seen = conv(), protocol(episodes=2), []
    encode = type(built).encode
    monkeypatch.setattr(type(built), "encode", lambda s, x: seen.append(x.shape[1]) or encode(s, x))
    evaluate(built, SOURCE, asked)
    assert sum(seen) == len(np.unique(drawn_rows(asked))) < N


def test_blocks_are_as_long_as_there_is_room(monkeypatch):
    asked = protocol()  # twelve tasks of fifteen images
    held = EncodedSource(FirstPixels(), SOURCE, budget=30 * SIZE)
    sampler, lengths = TaskSampler([SOURCE], asked), []
    for block in answers._blocks(sampler, held):
        rows = np.concatenate([drawn.rows for drawn in block])
        held.hold(rows)
        lengths.append(len(block))
        first = sum(lengths[:-1])
        assert [drawn.task.task for drawn in block] == list(range(first, first + len(block)))
        assert len(np.unique(rows)) <= 30
        if len(lengths) > 1 and sum(lengths) < 12:  # one task more would have been too many
            assert len(np.unique(drawn_rows(asked, first, sum(lengths) + 1))) > 30
    assert lengths[0] == 1
    assert sum(lengths) == 12
    monkeypatch.setattr(answers, "AHEAD_OF_HEAD", 5)
    roomy = EncodedSource(FirstPixels(), SOURCE)
    roomy.hold(np.arange(1))
    assert [len(block) for block in answers._blocks(sampler, roomy)] == [5, 5, 2]


def test_other_protocols_and_heads_use_the_same_embeddings(monkeypatch):
    built, other = conv(), conv("ridge")
    held, seen = EncodedSource(built, SOURCE), []
    encode = type(built).encode
    monkeypatch.setattr(type(built), "encode", lambda s, x: seen.append(x.shape[1]) or encode(s, x))
    protocols = [protocol(n_shot=(1, 1), episodes=30), protocol(episodes=30)]
    rows = np.unique(np.concatenate([drawn_rows(p) for p in protocols]))
    found = [evaluate(x, SOURCE, p, encoded=held) for p in protocols for x in (built, other)]
    assert sum(seen) == len(rows)
    plain = [evaluate(x, SOURCE, p) for p in protocols for x in (built, other)]
    for one, two in zip(found, plain, strict=True):
        np.testing.assert_allclose(one.records["log_loss"], two.records["log_loss"], atol=1e-5)


def test_embeddings_of_another_source_are_refused():
    built = conv()
    with pytest.raises(SettingsError, match="EncodedSource"):
        evaluate(built, make_source(), protocol(), encoded=EncodedSource(built, SOURCE))


def test_who_encodes_apart():
    assert encodes_apart(conv())
    assert not encodes_apart(conv().head)
    coupled = {"encoder": {"name": "conv4", "norm": "batch", "options": {"width": 4}}}
    built = build_learner("prototypical", coupled, InputSpec(1, (16, 16)), Target("classes", 3))
    assert not encodes_apart(built)


def test_an_encoder_under_a_transductive_head_encodes_apart():
    assert conv("bd_cspn").traits.transductive
    assert encodes_apart(conv("bd_cspn"))
    coupled = {"encoder": {"name": "conv4", "norm": "batch", "options": {"width": 4}}}
    built = build_learner("bd_cspn", coupled, InputSpec(1, (16, 16)), Target("classes", 3))
    assert not encodes_apart(built)
    unknown = conv()  # transductive, and neither its head nor its encoder says why
    unknown.traits = replace(unknown.traits, transductive=True)
    assert not encodes_apart(unknown)


def test_answering_ends_as_it_began():
    learner = conv()
    learner.encoder.eval()
    with answering(learner):
        assert not any(module.training for module in learner.modules())
        assert not torch.is_grad_enabled()
    assert learner.training
    assert not learner.encoder.training
    assert torch.is_grad_enabled()

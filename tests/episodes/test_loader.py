import threading

import numpy as np
import pytest
import torch

from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.augmentation import draw_changes
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import Stream, TaskSampler
from medmeta.episodes.views import embedding_view, pixel_view
from medmeta.errors import DataError
from medmeta.spans import recorded

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 5), dtype=np.uint8)
LABELS = [f"class {i % 4}" for i in range(40)]
CLINIC = Source.from_arrays("clinic", PIXELS, LABELS)
VALUES = np.linspace(-1, 1, 40, dtype=np.float32)


def sampler(source=CLINIC, **changes):
    plain = {"n_way": (2, 2), "n_shot": (1, 1), "n_query": 3, "tasks_per_batch": 4}
    return TaskSampler([source], Protocol(sources=("clinic",), **plain | changes))


def equal(one, other):
    parts = [(e.support, e.query) for e in (one, other)]
    return one.target == other.target and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(*parts, strict=True)
        for name in ("inputs", "labels", "task_ids")
    )


def slowly(loader, draws):
    """Images of tasks one by one, by plain arithmetic on whole float arrays."""
    tasks = []
    for draw in draws:
        rows = np.concatenate([draw.support_rows, draw.query_rows])
        source = loader.sampler.sources[draw.source]
        images = torch.from_numpy(source.pixels[source.pixel_rows[rows]]).float() * (4 / 255) - 2
        if loader.augment == "light":
            random = loader.sampler.generator(Stream.AUGMENTATION, draw.task)
            colour = not torch.equal(images, images[:, :1].expand_as(images))
            changes = draw_changes(random, len(images), images.shape[1], colour=colour)
            turned = images.flip(-1) if changes.mirrored[0] else images
            gain = torch.from_numpy(changes.gain)[:, :, None, None]
            shift = torch.from_numpy(changes.shift)[:, None, None, None]
            images = (turned * gain + shift).clamp(-2, 2)
        tasks.append(images)
    return torch.stack(tasks)


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("loader")]


def test_a_batch_has_its_shapes_and_the_images_that_were_drawn():
    loader = EpisodeLoader(sampler())
    episode = loader.batch(2)
    assert episode.support.inputs.shape == (4, 2, 3, 4, 5)
    assert episode.query.inputs.shape == (4, 6, 3, 4, 5)
    assert episode.support.labels.dtype == torch.int64
    assert episode.query.labels.tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    assert episode.support.task_ids.tolist() == [8, 9, 10, 11]
    assert (episode.target.kind, episode.target.size) == ("classes", 2)
    draws = loader.draws(2)
    wanted = (PIXELS[np.stack([d.query_rows for d in draws])].astype(np.float64) / 255 - 0.5) / 0.25
    assert episode.query.inputs.dtype == torch.float32
    np.testing.assert_allclose(episode.query.inputs.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_batch_is_what_its_tasks_are_one_by_one(augment):
    grey = np.repeat(PIXELS[:, :1], 3, axis=1)
    sources = [Source.from_arrays(name, p, LABELS) for name, p in (("a", PIXELS), ("b", grey))]
    protocol = Protocol(sources=("a", "b"), n_way=(2, 2), n_shot=(1, 1), n_query=3)
    drawer = TaskSampler(sources, protocol.model_copy(update={"tasks_per_batch": 16}))
    loader = EpisodeLoader(drawer, augment=augment)
    for number in range(3):
        draws, episode = loader.draws(number), loader.batch(number)
        assert {draw.source for draw in draws} == {0, 1}
        together = torch.cat([episode.support.inputs, episode.query.inputs], dim=1)
        assert torch.equal(together, slowly(loader, draws))
    only_a = EpisodeLoader(sampler(tasks_per_batch=16), augment=augment)
    together = torch.cat([only_a.batch(1).support.inputs, only_a.batch(1).query.inputs], dim=1)
    assert torch.equal(together, slowly(only_a, only_a.draws(1)))


def test_each_source_is_asked_once_for_a_batch_and_nothing_is_copied_apart():
    asked = []

    def view(rows):
        asked.append(len(rows))
        return torch.from_numpy(PIXELS[rows])

    episode = EpisodeLoader(sampler(), [view]).batch(0)
    assert asked == [4 * (2 + 6)]
    support, query = episode.support.inputs, episode.query.inputs
    assert support.untyped_storage().data_ptr() == query.untyped_storage().data_ptr()


def test_loading_is_marked_in_the_thread_that_waits_for_it():
    loader = EpisodeLoader(sampler())
    with recorded() as recording:
        for _ in loader.batches(0, 5):
            pass
    assert [e.work for e in recording.events if e.thread == 0] == ["load"] * 5
    assert {e.thread for e in recording.events} == {0, 1}  # and the loader's own work in its own
    with recorded() as recording:
        loader.fill(loader.draws(0), Target("classes", 2))
    assert [(e.work, e.thread) for e in recording.events] == [("load", 0)] * 2


def test_a_last_batch_may_be_cut_short():
    loader = EpisodeLoader(sampler())
    short, whole = loader.batch(1, 3), loader.batch(1)
    assert equal(short, whole.tasks(0, 3))


def test_part_of_a_source_is_gathered_by_its_own_rows():
    part = CLINIC.take(np.arange(20, 40))
    view = pixel_view(part)
    assert torch.equal(view(np.array([0, 3])), pixel_view(CLINIC)(np.array([20, 23])))


def test_an_embedding_view_gives_the_rows_drawn():
    embeddings = torch.arange(80.0).reshape(40, 2)
    loader = EpisodeLoader(sampler(), [embedding_view(embeddings)])
    episode = loader.batch(0)
    for t, draw in enumerate(loader.draws(0)):
        assert episode.support.inputs[t, :, 0].tolist() == (2 * draw.support_rows).tolist()
        assert episode.query.inputs[t, :, 1].tolist() == (2 * draw.query_rows + 1).tolist()


def test_values_are_float_and_belong_to_their_images():
    source = Source.from_arrays("clinic", PIXELS, values=VALUES)
    loader = EpisodeLoader(sampler(source, kind="values", n_way=(1, 1), n_shot=(5, 5)))
    episode = loader.batch(0)
    assert episode.target.kind == "values"
    assert episode.support.labels.shape == (4, 5, 1)
    assert episode.query.labels.dtype == torch.float32
    for t, draw in enumerate(loader.draws(0)):
        assert episode.query.labels[t, :, 0].tolist() == VALUES[draw.query_rows].tolist()


def test_loading_ahead_gives_the_same_batches():
    loader = EpisodeLoader(sampler(n_way=(2, 4)))
    ahead = list(loader.batches(3, 9))
    assert len(ahead) == 6
    assert all(equal(e, loader.batch(number)) for e, number in zip(ahead, range(3, 9), strict=True))
    assert list(loader.batches(3, 3)) == []
    assert loader_threads() == []


def test_what_goes_wrong_while_loading_ahead_is_raised():
    def broken(rows):
        if broken.calls == 1:  # the second batch, which is loaded while the first is used
            raise DataError("row 7 cannot be read.")
        broken.calls += 1
        return torch.zeros(len(rows), 2)

    broken.calls = 0
    batches = EpisodeLoader(sampler(), [broken]).batches(0, 5)
    next(batches)
    with pytest.raises(DataError, match="row 7"):
        next(batches)
    assert loader_threads() == []


def test_batches_may_be_left_early():
    batches = EpisodeLoader(sampler()).batches(0, 10**9)
    next(batches)
    next(batches)
    assert len(loader_threads()) == 1
    batches.close()
    assert loader_threads() == []

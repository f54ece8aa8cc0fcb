import contextlib
import errno
import json
import math
import os
import shutil

import pytest
import torch

from medmeta.errors import CheckpointError, StorageError
from medmeta.storage import UNFINISHED, sealed
from medmeta.training import checkpoint
from medmeta.training.checkpoint import (
    Progress,
    load_checkpoint,
    load_weights,
    model_folder,
    newest_checkpoint_card,
    save_checkpoint,
    save_model,
    tensors_from_bytes,
    tensors_to_bytes,
)

CARD = {"what": "a test"}


class Killed(BaseException):
    """Stands for the end of the process at this instant."""


def parts(value=0.0):
    """A module whose weights say which step it is of, and Adam after one step."""
    module = torch.nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.fill_(value)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    with torch.no_grad():
        module.weight.fill_(value)
    return module, optimiser


def save(run, step, best, *, model=True):
    module, optimiser = parts(step)
    if model and best == step:
        save_model(run, step, module, CARD)
    save_checkpoint(run, Progress(step, best, float(best)), module, optimiser, CARD)


def load(run):
    """Progress, and the step that the weights say; None where there is no checkpoint."""
    module, optimiser = parts()
    progress = load_checkpoint(run, module, optimiser)
    if progress is not None:
        assert module.weight.tolist() == [[progress.step] * 2]
    return progress


def saved_model_step(run):
    file = model_folder(run) / "weights.safetensors"
    return tensors_from_bytes(file.read_bytes(), where=file)["weight"][0, 0].item()


def folders(run):
    return sorted(p.name for p in run.iterdir())


@pytest.mark.parametrize(
    "progress",
    [
        Progress(),
        Progress(5, 3, 0.1 + 0.2, 2, True),
        Progress(5, 3, -1e-300),
        Progress(5, 5, -math.inf),
    ],
)
def test_progress_survives_json(progress):
    assert Progress.from_dict(json.loads(json.dumps(progress.to_dict()))) == progress


def test_tensors_survive_bit_for_bit():
    strided = torch.arange(12.0).reshape(3, 4).T
    tensors = {
        "strided": strided,
        "scalar": torch.tensor(3),
        "bf16": torch.tensor([1.1], dtype=torch.bfloat16),
        "same": strided,
        "grad": torch.ones(2, requires_grad=True),
        "odd": torch.tensor([math.nan, -0.0, math.inf]),
    }
    back = tensors_from_bytes(tensors_to_bytes(tensors), where="x")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name].nan_to_num(7), tensor.detach().nan_to_num(7))
    assert back["odd"][1].signbit()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 40, tensors_to_bytes({"a": torch.ones(9)})[:-1]]
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"w\.safetensors is not a readable"):
        tensors_from_bytes(content, where=tmp_path / "w.safetensors")


def test_another_modules_weights_are_named(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"w\.st holds the weights of another learner: .*size mis"
    ):
        load_weights(
            torch.nn.Linear(3, 1), torch.nn.Linear(2, 1).state_dict(), where=tmp_path / "w.st"
        )


def test_all_comes_back(tmp_path):
    module, optimiser = parts(3)
    save_model(tmp_path, 3, module, CARD)
    save_checkpoint(tmp_path, Progress(3, 3, 0.5, 1), module, optimiser, CARD)
    other, its_optimiser = parts(9)
    assert load_checkpoint(tmp_path, other, its_optimiser) == Progress(3, 3, 0.5, 1)
    assert torch.equal(other.weight, module.weight)
    for number, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(its_optimiser.state_dict()["state"][number][key], value)
    assert newest_checkpoint_card(tmp_path)["what"] == "a test"


def test_no_run_is_no_checkpoint(tmp_path):
    assert load(tmp_path / "nowhere") is None
    assert newest_checkpoint_card(tmp_path / "nowhere") is None
    with pytest.raises(CheckpointError, match="holds no trained model"):
        model_folder(tmp_path / "nowhere")


def test_the_two_newest_checkpoints_and_their_models_are_kept(tmp_path):
    for step, best in [(2, 2), (4, 4), (6, 4), (8, 8)]:
        save(tmp_path, step, best)
    assert folders(tmp_path) == [
        "checkpoint-000000006",
        "checkpoint-000000008",
        "model-000000004",
        "model-000000008",
    ]
    assert saved_model_step(tmp_path) == 8
    shutil.rmtree(tmp_path / "checkpoint-000000008")
    assert load(tmp_path) == Progress(6, 4, 4.0)
    assert saved_model_step(tmp_path) == 4


def test_a_kill_between_model_and_checkpoint_loses_neither(tmp_path):
    save(tmp_path, 2, 2)
    save_model(tmp_path, 4, parts(4)[0], CARD)  # and here the process ends
    assert load(tmp_path).step == 2
    assert saved_model_step(tmp_path) == 2
    save(tmp_path, 3, 2)  # it saved at other steps the second time: model 4 is of no use
    assert folders(tmp_path) == ["checkpoint-000000002", "checkpoint-000000003", "model-000000002"]


def test_a_model_of_a_killed_run_is_replaced(tmp_path):
    save(tmp_path, 2, 2)
    save_model(tmp_path, 4, parts(99)[0], CARD)
    save(tmp_path, 4, 4)
    assert saved_model_step(tmp_path) == 4


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
@pytest.mark.parametrize("kill_at", ["os.fsync", "os.rename", "Path.rename", "shutil.rmtree"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_replacing_a_folder_loses_nothing_at_any_instant(
    tmp_path, monkeypatch, kind, kill_at, call
):
    save(tmp_path, 4, 4)
    module, optimiser = parts(4)
    save_again = {
        "model": lambda: save_model(tmp_path, 4, module, CARD),
        "checkpoint": lambda: save_checkpoint(
            tmp_path, Progress(4, 4, 4.0), module, optimiser, CARD
        ),
    }[kind]
    owner, name = {
        "os.fsync": (os, "fsync"),
        "os.rename": (os, "rename"),
        "Path.rename": (checkpoint.Path, "rename"),
        "shutil.rmtree": (shutil, "rmtree"),
    }[kill_at]
    real, calls = getattr(owner, name), []

    def dying(*args, **kwargs):
        calls.append(name)
        if len(calls) >= call:  # nothing is done any more, not even in a finally
            raise Killed
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(owner, name, dying)
        save_again()
    assert load(tmp_path) == Progress(4, 4, 4.0)
    assert saved_model_step(tmp_path) == 4
    assert folders(tmp_path) == ["checkpoint-000000004", "model-000000004"]


@pytest.mark.parametrize("part", ["state.safetensors", "card.json"])
@pytest.mark.parametrize("damage", ["gone", "short", "empty", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_still_loads(tmp_path, part, damage):
    save(tmp_path, 2, 2)
    save(tmp_path, 4, 4)
    file = tmp_path / "checkpoint-000000004" / part
    body = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":
        middle = len(body) // 2
        file.write_bytes(body[:middle] + bytes([body[middle] ^ 0x80]) + body[middle + 1 :])
    else:
        file.write_bytes(body[: len(body) // 2] if damage == "short" else b"")
    with pytest.raises(
        CheckpointError, match=rf"checkpoint-000000004.{part}.*\bremove .*the checkpoint before"
    ):
        load(tmp_path)
    shutil.rmtree(file.parent)
    assert load(tmp_path).step == 2
    assert saved_model_step(tmp_path) == 2


@pytest.mark.parametrize("progress", [None, {}, {"step": "x"}, 3])
def test_a_card_that_does_not_say_where_the_run_stands_is_damaged(tmp_path, progress):
    save(tmp_path, 2, 2)
    file = tmp_path / "checkpoint-000000002" / "card.json"
    file.write_text(json.dumps(sealed({**json.loads(file.read_text()), "progress": progress})))
    for read in (load, model_folder):
        with pytest.raises(CheckpointError, match=r"checkpoint-000000002.card\.json"):
            read(tmp_path)


def test_a_best_model_that_is_gone_is_named(tmp_path):
    save(tmp_path, 2, 2)
    shutil.rmtree(tmp_path / "model-000000002")
    with pytest.raises(CheckpointError, match="model-000000002, the best model"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="no model yet"):
        model_folder(tmp_path)


def test_a_damaged_older_checkpoint_does_not_stop_the_run(tmp_path):
    save(tmp_path, 2, 2)
    (tmp_path / "checkpoint-000000002" / "card.json").write_text("{")
    save(tmp_path, 4, 4)
    assert load(tmp_path).step == 4
    save(tmp_path, 6, 4)
    assert folders(tmp_path)[:2] == ["checkpoint-000000004", "checkpoint-000000006"]


def test_leftovers_are_ignored_and_removed(tmp_path):
    save(tmp_path, 2, 2)
    for own in (".git", "notes.new"):
        (tmp_path / own).mkdir()
    before = folders(tmp_path)
    left = tmp_path / f".checkpoint-000000004.x8d2_k1{UNFINISHED}"
    left.mkdir()
    (left / "state.safetensors").write_bytes(b"half")
    (tmp_path / f".metrics.jsonl.123{UNFINISHED}").write_bytes(b"half")
    assert model_folder(tmp_path).name == "model-000000002"
    assert load(tmp_path).step == 2
    assert folders(tmp_path) == before


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, calls):
    save(tmp_path, 2, 2)
    real, count = os.fsync, []

    def full(descriptor):
        count.append(descriptor)
        if len(count) >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            StorageError, match="model-000000004 could not be written: No space left"
        ):
            save(tmp_path, 4, 4)
    assert load(tmp_path).step in ((2,) if calls < 4 else (2, 4))
    assert saved_model_step(tmp_path) == load(tmp_path).step

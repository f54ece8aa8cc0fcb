"""Free text through an encoder of sentences that the user brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmeta.data import sentences
from medmeta.data.records import RecordColumn, RecordSchema
from medmeta.data.sentences import permit, sentence_vectors, width_of
from medmeta.errors import SettingsError

CODE = """
import numpy as np
import torch

CALLS = []

def lengths():
    def encode(texts):
        CALLS.append(list(texts))
        return np.array([[len(t), t.count("fever"), 1] for t in texts])
    return encode

def tensors():
    return lambda texts: torch.ones(len(texts), 2, requires_grad=True)

def no_number():
    return lambda texts: np.full((len(texts), 2), np.nan)

def flat():
    return lambda texts: np.zeros(len(texts))

def breaks():
    def encode(texts):
        raise ValueError("cannot read " + texts[0])
    return encode

def no_function():
    return "a text"
"""
NOTES = ["cough since three days, no fever", None, "fell from a ladder on to the left hand"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "sentences_of_mine.py").write_text(CODE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sentences, "_permitted", {})
    return "external:sentences_of_mine"


def test_a_text_is_the_vector_that_the_encoder_gives(plugin: str) -> None:
    permit(f"{plugin}:lengths", allowed=True)
    schema = RecordSchema.of(
        ["age", "note"], [{"age": ["61", "4", "9"], "note": NOTES}], encoder=f"{plugin}:lengths"
    )
    assert schema.encoders == (f"{plugin}:lengths",)
    assert schema.size == 1 + 3
    found = schema.encode({"age": ["61", "4", "9"], "note": NOTES})
    assert found[0].tolist() == [61, 32, 1, 1]
    assert np.isnan(found[1, 1:]).all()
    assert found[2].tolist() == [9, 38, 0, 1]
    kept = schema.model_dump_json()
    assert "ladder" not in kept
    assert RecordSchema.model_validate_json(kept) == schema


def test_equal_texts_are_encoded_once_and_tensors_do_too(plugin: str) -> None:
    permit(f"{plugin}:lengths", allowed=True)
    found = sentence_vectors(f"{plugin}:lengths", ["ab", "fever", "ab"], width=3)
    assert found.tolist() == [[2, 0, 1], [5, 1, 1], [2, 0, 1]]
    import sentences_of_mine  # type: ignore[import-not-found]

    assert sentences_of_mine.CALLS[-1] == ["ab", "fever"]
    permit(f"{plugin}:tensors", allowed=True)
    assert sentence_vectors(f"{plugin}:tensors", ["x"], width=2).tolist() == [[1, 1]]
    assert sentence_vectors(f"{plugin}:tensors", [], width=2).shape == (0, 2)


def test_it_is_imported_only_with_permission(plugin: str) -> None:
    with pytest.raises(SettingsError, match="only with --allow-external"):
        permit(f"{plugin}:lengths", allowed=False)
    column = RecordColumn(name="note", kind="text", encoder=f"{plugin}:lengths", width=3)
    with pytest.raises(SettingsError, match="only with --allow-external"):
        column.encode(["no fever"])
    permit(f"{plugin}:lengths", allowed=True)
    with pytest.raises(SettingsError, match="only with --allow-external"):
        permit(f"{plugin}:lengths", allowed=False)  # said for one run, not for the next


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_number", "gives what is no number"),
        ("flat", r"gives \(1,\) for 1 texts"),
        ("breaks", r"fails on 1 texts \(ValueError\)"),
    ],
)
def test_what_gives_no_vectors_is_refused_without_the_text(
    plugin: str, name: str, complaint: str
) -> None:
    permit(f"{plugin}:{name}", allowed=True)
    with pytest.raises(SettingsError, match=complaint) as caught:
        width_of(f"{plugin}:{name}")
    assert "no fever" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("bert", "name it as external:"),
        ("external:sentences_of_mine:no_function", "gave str, not a function"),
        ("external:sentences_of_mine:nothing", "cannot be made"),
    ],
)
def test_what_is_no_encoder_is_named(plugin: str, name: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        permit(name, allowed=True)


def test_another_encoder_than_that_of_training_is_refused(plugin: str) -> None:
    permit(f"{plugin}:tensors", allowed=True)
    column = RecordColumn(name="note", kind="text", encoder=f"{plugin}:tensors", width=3)
    with pytest.raises(SettingsError, match="vectors of 2 numbers, and gave 3"):
        column.encode(["no fever"])


def test_an_encoder_without_a_text_is_refused(plugin: str) -> None:
    permit(f"{plugin}:lengths", allowed=True)
    with pytest.raises(SettingsError, match=r"no column of the record is free text: age \(number"):
        RecordSchema.of(["age"], [{"age": ["1", "2"]}], encoder=f"{plugin}:lengths")

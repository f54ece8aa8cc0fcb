"""Columns of a manifest as records."""

from __future__ import annotations

import numpy as np
import pytest

from medmeta.data.records import WORDS, RecordColumn, RecordSchema, bag_of_words
from medmeta.errors import DataError, SettingsError


def test_a_column_is_what_all_its_entries_are() -> None:
    sources = [
        {"age": ["61", None], "sex": ["F", "M"], "note": ["cough", "no fever at all"]},
        {"age": ["47.5", "1e2"], "sex": ["F", None], "note": ["fall from a ladder", None]},
    ]
    schema = RecordSchema.of(["age", "sex", "note"], sources)
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {"age": "number", "sex": "category", "note": "text"}
    assert schema.size == 1 + 2 + WORDS
    found = schema.encode(sources[0])
    assert found.shape == (2, schema.size)
    assert found[0, :3].tolist() == [61.0, 1.0, 0.0]
    assert np.isnan(found[1, 0])


def test_one_text_entry_makes_a_column_no_number() -> None:
    schema = RecordSchema.of(["crp"], [{"crp": ["1", "2", "<5", "<5", "1", "2"]}])
    assert schema.columns[0].kind == "category"


def test_what_was_never_seen_is_not_known_and_said() -> None:
    column = RecordColumn(name="stain", kind="category", categories=("A", "B"))
    schema = RecordSchema(columns=(column, RecordColumn(name="age", kind="number")))
    texts = {"stain": ["A", "C", None], "age": ["old", "61", "inf"]}
    found = schema.encode(texts)
    assert np.isnan(found[1:, :2]).all()
    assert np.isnan(found[[0, 2], 2]).all()
    said = schema.remarks(texts)
    assert any("stain: C is none that was learned from" in text for text in said)
    assert any("age: inf, old is no number" in text for text in said)


def test_columns_without_an_entry() -> None:
    schema = RecordSchema.of(["age", "crp"], [{"age": ["1"], "crp": ["2"]}])
    assert schema.remarks({"age": ["1"], "crp": [None]}) == ["crp: not known of any patient."]
    with pytest.raises(DataError, match="not one patient has an entry in age, crp"):
        schema.remarks({"age": [None]})
    with pytest.raises(DataError, match="--record lactate: no source has an entry"):
        RecordSchema.of(["lactate"], [{"lactate": [None, None]}])


@pytest.mark.parametrize("name", ["name", "patient_id", "date", "mrn"])
def test_what_tells_who_it_is_is_not_learned_from(name: str) -> None:
    with pytest.raises(SettingsError, match=f"--record {name}: .*tells who the patient is"):
        RecordSchema.of([name], [{name: ["x"]}])


def test_words_are_counted() -> None:
    once, twice = bag_of_words("fever"), bag_of_words("fever fever")
    assert once.sum() == 1
    np.testing.assert_allclose(twice, once * np.sqrt(2))
    assert bag_of_words("...").sum() == 0


def test_a_schema_survives_json() -> None:
    schema = RecordSchema.of(["age", "sex"], [{"age": ["1"], "sex": ["F", "M", "F"]}])
    assert RecordSchema.model_validate_json(schema.model_dump_json()) == schema

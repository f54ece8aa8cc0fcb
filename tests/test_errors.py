"""The tree of errors: one base, and messages that say what to do."""

from __future__ import annotations

import inspect

import pytest

from medmeta import errors
from medmeta.errors import MedmetaError, MissingExtraError, UnknownNameError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
ERRORS = [kind for kind in CLASSES if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_in_the_tree_and_in_its_drawing(kind: type[Exception]) -> None:
    assert issubclass(kind, MedmetaError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__name__.endswith("Error")
    assert getattr(kind, "exit_code", None) == 2


@pytest.mark.parametrize(
    ("name", "known", "wanted"),
    [
        ("rigde", ["ridge", "maml"], "Did you mean 'ridge'? Known: maml, ridge."),
        ("RIDGE", ["ridge"], "Did you mean 'ridge'?"),
        ("xyz", ["ridge"], "there is no head called 'xyz'. Known: ridge."),
        ("xyz", [], "Known: none."),
    ],
)
def test_an_unknown_name_says_which_are_near(name: str, known: list[str], wanted: str) -> None:
    assert wanted in str(UnknownNameError("head", name, known))


def test_a_missing_library_says_how_to_get_it() -> None:
    message = str(MissingExtraError("pyarrow", "parquet", "reading Parquet manifests"))
    assert message == "reading Parquet manifests needs pyarrow: pip install 'medmeta[parquet]'."

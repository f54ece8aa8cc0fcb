import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medmeta.episodes.protocol import Protocol, parse_range
from medmeta.errors import SettingsError
from medmeta.settings import validated

NUMBERS = st.integers(2, 10**6)
RANGES = st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PROTOCOLS = st.builds(
    Protocol,
    sources=st.lists(NAMES, max_size=3).map(tuple),
    kind=st.sampled_from(["classes", "values"]),
    n_way=RANGES,
    n_shot=RANGES,
    n_query=st.integers(1, 10_000),
    episodes=st.integers(0, 10**9),
    tasks_per_batch=st.integers(1, 10_000),
    patient_disjoint=st.booleans(),
    drop_small_classes=st.booleans(),
    norm=NAMES,
    transductive=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    split=NAMES,
    standardise=NAMES,
    shift=NAMES,
)
PLAIN = Protocol(sources=("a",))
CHANGES = {
    "sources": ("b",),
    "kind": "values",
    "n_way": (2, 5),
    "n_shot": (1, 2),
    "n_query": 14,
    "episodes": 1,
    "tasks_per_batch": 2,
    "patient_disjoint": False,
    "drop_small_classes": True,
    "norm": "group",
    "transductive": True,
    "seed": 1,
    "split": "train",
    "standardise": "site",
    "shift": "site north, support from outside",
}


@given(PROTOCOLS)
def test_json_brings_an_equal_protocol_back(protocol):
    again = Protocol.from_json(protocol.to_json())
    assert again == protocol
    assert hash(again) == hash(protocol)
    assert again.digest() == protocol.digest()


def test_a_protocol_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        PLAIN.seed = 1


def test_every_field_counts_in_the_digest():
    assert set(CHANGES) == set(Protocol.model_fields) - {"version"}
    digests = {
        Protocol(**{**PLAIN.model_dump(), field: value}).digest()
        for field, value in CHANGES.items()
    }
    assert len(digests | {PLAIN.digest()}) == len(CHANGES) + 1


def test_what_later_versions_added_is_written_only_where_it_says_something():
    """So protocols of earlier runs keep their digests."""
    assert '"seed":0}' in PLAIN.to_json()
    assert list(PLAIN.model_dump()) == [*Protocol.model_fields][:-3]
    assert PLAIN.model_copy(update={"split": "test"}).model_dump()["split"] == "test"


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from medmeta.episodes.protocol import Protocol;"
        "print(Protocol(sources=('Röntgen', 'b'), n_way=(2, 4), seed=9).digest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there = Protocol(sources=("Röntgen", "b"), n_way=(2, 4), seed=9).digest()
    assert done.stdout.strip() == there
    assert len(there) == 16
    assert int(there, 16) >= 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_way", (5, 2)),
        ("n_way", (1, 5)),
        ("n_way", (0, 5)),
        ("n_way", (5,)),
        ("n_shot", (3, 1)),
        ("n_shot", (0, 1)),
        ("n_query", 0),
        ("n_query", "many"),
        ("episodes", -1),
        ("tasks_per_batch", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("kind", "drawings"),
        ("version", 2),
        ("n_ways", (2, 2)),
    ],
)
def test_bad_values_are_refused_by_the_name_of_their_field(field, value):
    with pytest.raises(SettingsError, match=rf"^protocol: .*\b{field}\b"):
        validated(Protocol, {"sources": ("a",), field: value}, where="protocol")


def test_a_protocol_of_values_needs_no_ways():
    assert Protocol(sources=("a",), kind="values", n_way=(1, 1)).n_way == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ("{}", "sources"), ("NaN", "not a JSON ob")],
)
def test_text_that_is_no_protocol_is_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        Protocol.from_json(text)


@pytest.mark.parametrize(
    ("text", "ends"), [("5", (5, 5)), ("2-5", (2, 5)), (" 1 - 20 ", (1, 20)), ("3-3", (3, 3))]
)
def test_ranges_are_read(text, ends):
    assert parse_range(text, name="--way") == ends


@pytest.mark.parametrize(
    "text", ["", "0", "5-2", "-3", "2-", "2-3-4", "x", "1.5", "0-4", "9" * 5000]
)
def test_what_is_no_range_names_its_option(text):
    with pytest.raises(SettingsError, match=r"^--shot "):
        parse_range(text, name="--shot")


def test_a_protocol_in_words():
    assert PLAIN.describe() == "5-way 1-shot, 15 queries per class"
    ranged = Protocol(sources=(), n_way=(2, 5), n_shot=(1, 20), n_query=3)
    assert ranged.describe() == "2-5-way 1-20-shot, 3 queries per class"
    valued = Protocol(sources=(), kind="values", n_shot=(4, 4), n_query=7)
    assert valued.describe() == "values from 4 images, 7 queries"

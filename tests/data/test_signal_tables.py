from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmeta.data.signal_tables import is_signal_table, read_table
from medmeta.errors import UnreadableImageError


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_column_for_each_lead_and_one_of_times(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "time,I,V1 (uV)\n0.000,1,500\n0.002,2,-500\n"), None)
    assert found.leads == ("I", "V1")
    assert found.rate == pytest.approx(500)
    np.testing.assert_allclose(found.values, [[1, 2], [0.5, -0.5]])


@pytest.mark.parametrize(
    ("text", "given", "rate"),
    [
        ("# rate: 360\nII\n1\n2\n", None, 360),
        ("II\n1\n2\n", 125.0, 125),
        ("t (ms),II\n0,1\n4,2\n8,2\n", None, 250),
        ("sample,II\n0,1\n1,2\n", 100.0, 100),
    ],
)
def test_where_the_rate_comes_from(
    tmp_path: Path, text: str, given: float | None, rate: float
) -> None:
    found = read_table(table(tmp_path, text), given)
    assert found.rate == pytest.approx(rate)
    assert found.leads == ("II",)


def test_semicolons_tabs_and_blanks(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "I;II\n1;\nnan;2\n"), 100)
    np.testing.assert_array_equal(found.values, [[1, np.nan], [np.nan, 2]])
    assert read_table(table(tmp_path, "I\tII\n1\t3\n"), 100).values.tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("I,II\n1,2\n", "does not say its samples per second"),
        ("time,I\n0,1\n0,2\n", "do not rise"),
        ("time,I\n0,1\n0.1,2\n0.2,2\n0.9,2\n", "gaps in its times"),
        ("# rate: 100\nI,II\n1,2\n3\n", "sample 2 has 1 values, not 2"),
        ("# rate: 100\nI,II\n1,2\n3,x\n", "no number in sample 2"),
        ("# rate: 1e9\nI\n1\n", "cannot be"),
        ("time\n0\n1\n", "no column of a lead"),
        ("# rate: 100\n" + ",".join(["a"] * 300) + "\n", "columns"),
    ],
)
def test_a_bad_table_is_refused_in_plain_words(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UnreadableImageError, match=says):
        read_table(table(tmp_path, text), None)


def test_a_manifest_is_no_signal(tmp_path: Path) -> None:
    assert is_signal_table(table(tmp_path, "I,II\n0.1,0.2\n"))
    assert is_signal_table(table(tmp_path, "# rate: 5\nI,II\n,0.2\n"))
    assert not is_signal_table(table(tmp_path, "path,label\na.png,benign\n"))
    assert not is_signal_table(table(tmp_path, "path,predicted,probability_a\na.hea,a,0.5\n"))
    assert not is_signal_table(table(tmp_path, "1,2\n3,4\n"))
    assert not is_signal_table(table(tmp_path, "I,II\n0.1,0.2\n", "t.txt"))

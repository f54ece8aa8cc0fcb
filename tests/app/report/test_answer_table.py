"""Reports on tables of answers: what is read, what is refused, and that no path is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.app.report.answer_table import read_answers, table_report
from medmeta.app.report.building import Asking
from medmeta.app.report.page import render_report
from medmeta.errors import ManifestError

HEADER = "path,predicted,probability_ill,probability_well,nearest_1,similarity_1,problem"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four answers, one of them no probabilities, and a row that could not be read."""
    for name in ("ill/JaneDoe1", "ill/JaneDoe2", "well/JaneDoe3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    rows = [
        f"{tmp_path}/ill/JaneDoe1.png,ill,0.9,0.1,ill #1,0.8,",
        f"{tmp_path}/ill/JaneDoe2.png,well,0.3,0.7,ill #1,0.8,",
        f"{tmp_path}/well/JaneDoe3.png,well,nan,0.7,ill #1,0.8,",
        f"{tmp_path}/gone/JaneDoe4.png,well,0.4,0.6,ill #1,0.8,",
        f"{tmp_path}/ill/JaneDoe5.png,,,,,,{tmp_path}/ill/JaneDoe5.png: is empty",
    ]
    (tmp_path / "answers.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path / "answers.csv"


def test_what_is_read(table: Path) -> None:
    content = table_report(read_answers(table), Asking())
    assert content.class_names == ("ill", "well")
    assert content.query is not None
    assert content.query.labels.tolist() == [0, 0, 1, -1]
    np.testing.assert_array_equal(
        content.query.probabilities, [[0.9, 0.1], [0.3, 0.7], [np.nan, np.nan], [0.4, 0.6]]
    )
    text = render_report(content)
    assert "1 of 3 right" in text
    assert "1 answers are not valid probabilities" in text
    assert "1 of the images could not be shown" in text
    assert "1 rows say that the image could not be read" in text


def test_no_name_and_no_path_is_kept(table: Path) -> None:
    text = render_report(table_report(read_answers(table), Asking()))
    assert "JaneDoe" not in text
    assert str(table.parent) not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no table of answers"),
        ("path,label\na.png,ill\n", "no table of answers"),
        (f"{HEADER}\n", "no row with an answer"),
        (f"{HEADER}\na.png,ill,0.9\n", "row 2: 3 cells"),
        ("path,predicted\na.png,3.5\n", "no table of answers"),
        (f'{HEADER}\n"a.png,ill', "cannot be read as a table"),
        ("\0\1\2", "no table of answers"),
    ],
)
def test_what_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(ManifestError, match=says):
        read_answers(tmp_path / "answers.csv")


def test_a_row_that_does_not_sum_to_one_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "path,predicted,probability_a,probability_b\nx.png,a,0.9,0.9\ny.png,a,1.5,-0.5\n"
    )
    assert np.isnan(read_answers(tmp_path / "a.csv").probabilities).all()


def test_the_answer_is_what_the_table_says_it_is(tmp_path: Path) -> None:
    """Of 0.49999996 and 0.50000004 six digits make a tie, and the answer is told beside them."""
    rows = "x.png,b,0.500000,0.500000\ny.png,a,0.500000,0.500000\nz.png,b,0.4,0.6\n"
    path = tmp_path / "answers.csv"
    path.write_text("path,predicted,probability_a,probability_b\n" + rows)
    assert read_answers(path).probabilities.argmax(1).tolist() == [1, 0, 1]
    path.write_text("path,predicted,probability_a,probability_b\nx.png,a,0.3,0.7\n")
    with pytest.raises(ManifestError, match=r"row 2: predicted is a, but b has the larger"):
        read_answers(path)

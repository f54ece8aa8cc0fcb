"""``medmeta data deidentify`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from tests.app._typed import medmeta, refused, state
from tests.data.test_deidentify import bytes_of, hospital_file


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMETA_CONFIG", str(tmp_path / "settings"))


def test_copies_flags_and_what_is_not_cleaned_are_told(tmp_path: Path) -> None:
    hospital_file(tmp_path / "in" / "a", Modality="US")
    hospital_file(tmp_path / "in" / "b", SOPInstanceUID="1.2.3", BurnedInAnnotation="NO")
    shown = medmeta("data", "deidentify", tmp_path / "in", "--out", tmp_path / "one")
    assert shown.code == 0
    assert "text burnt" in " ".join(shown.out.split())
    assert "Pixels are as they were" in shown.err
    told = medmeta("data", "deidentify", tmp_path / "in", "--out", tmp_path / "two", "--json",
                   "--dates", "shift").json()  # fmt: skip
    assert [Path(copy["original"]).name for copy in told["copies"]] == ["a", "b"]
    assert [bool(copy["flags"]) for copy in told["copies"]] == [True, False]
    names = [
        {p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")} for n in ("one", "two")
    ]
    assert names[0] == names[1]  # one salt, kept in the user's settings
    salt = (tmp_path / "settings" / "salt").read_bytes()
    assert salt not in bytes_of(tmp_path / "one") + bytes_of(tmp_path / "two")
    inspected = medmeta("data", "inspect", tmp_path / "one", "--json")
    assert "Quill" not in inspected.out + inspected.err


def test_refusals_are_plain_and_say_nothing_of_a_header(tmp_path: Path) -> None:
    hospital_file(tmp_path / "in" / "a")
    (tmp_path / "in" / "b.dcm").write_bytes((tmp_path / "in" / "a").read_bytes()[:300])
    before = state(tmp_path / "in")
    words = ("data", "deidentify", tmp_path / "in", "--out")
    said = refused(*words, tmp_path / "out", says=("1 of 2 files cannot be cleaned", "--skip-bad"))
    assert "Quill" not in said
    refused(*words, tmp_path / "in", says="is there already")
    refused("data", "deidentify", tmp_path / "gone", "--out", tmp_path / "out", says="no such file")
    assert state(tmp_path / "in") == before
    assert not (tmp_path / "out").exists()
    assert medmeta(*words, tmp_path / "out", "--skip-bad").code == 0

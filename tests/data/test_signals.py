from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medmeta.data.inspection import inspect_source
from medmeta.data.listing import scan
from medmeta.data.preprocess import Preprocessing
from medmeta.data.recording import Recording
from medmeta.data.signal_shape import prepare_signal
from medmeta.data.sources import open_source
from medmeta.data.standardise import standardised
from medmeta.data.synthetic_signals import synthetic_ecgs, synthetic_recording
from medmeta.errors import DataError, SettingsError, UnreadableImageError
from tests.data.ecg_files import LEADS, write_ecgs, write_record, write_table

IN_MV = Preprocessing(samples=100, rate=100, leads="I,II", scaling="mv")


def recording(values: list[list[float]], rate: float = 100, leads: str = "I,II") -> Recording:
    return Recording(tuple(leads.split(",")), rate, np.array(values, np.float32))


def test_limb_leads_follow_from_two() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(0, 1, (2, 100))
    wanted = Preprocessing(samples=100, leads="I,II,III,aVR,aVL,aVF", scaling="mv")
    found = prepare_signal(recording([one.tolist(), two.tolist()]), wanted).astype(np.float64)
    expected = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    for lead, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(lead, values - np.median(values), atol=4e-3)  # half precision


def test_each_lead_has_a_deviation_of_one_and_a_flat_one_is_zero() -> None:
    wave = np.sin(np.arange(100) / 5)
    wanted = Preprocessing(samples=100, leads="I,II")
    found = prepare_signal(recording([(7 + 3 * wave).tolist(), [2.0] * 100]), wanted)
    assert found.dtype == np.float16
    assert found[0].astype(np.float64).std() == pytest.approx(1, abs=2e-3)
    assert (found[1] == 0).all()


@pytest.mark.parametrize("rate", [50, 125, 250, 360, 500])
def test_a_wave_keeps_its_frequency_at_another_rate(rate: int) -> None:
    at = np.arange(5 * rate) / rate
    wave = np.sin(2 * np.pi * 2 * at)  # two turns a second
    wanted = Preprocessing(samples=400, rate=100, leads="II", scaling="mv")
    found = prepare_signal(recording([wave.tolist()], rate, "II"), wanted)[0].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(found))
    assert np.fft.rfftfreq(400, 1 / 100)[spectrum.argmax()] == 2
    assert np.abs(found).max() == pytest.approx(1, abs=0.05)


def test_a_far_slower_rate() -> None:
    wanted = Preprocessing(samples=16, rate=1.0, leads="II", scaling="mv")
    ramp = np.linspace(0, 9, 60_000).tolist()
    told = prepare_signal(recording([ramp], 4000, "II"), wanted)[0]
    assert int((told != 0).sum()) in (14, 15)  # seconds; the middle one may be 0


def test_what_the_new_rate_cannot_show_is_filtered_out_first() -> None:
    at = np.arange(5000) / 1000
    wave = np.sin(2 * np.pi * 140 * at)  # at 100 a second it would look like 40
    wanted = Preprocessing(samples=300, rate=100, leads="II", scaling="mv")
    found = prepare_signal(recording([wave.tolist()], 1000, "II"), wanted)
    assert np.abs(found.astype(np.float64)[0, 50:-50]).max() < 0.02


def test_a_long_one_is_cut_to_its_middle_and_a_short_one_stands_between_zeros() -> None:
    ramp = np.arange(300.0) / 100
    found = prepare_signal(recording([ramp.tolist(), ramp.tolist()]), IN_MV)
    np.testing.assert_allclose(found[0], ramp[100:200] - np.median(ramp), atol=2e-3)
    short = prepare_signal(recording([[1.0] * 20 + [3.0] * 20] * 2), IN_MV)[0].astype(np.float64)
    assert short.tolist() == [0.0] * 30 + [-1.0] * 20 + [1.0] * 20 + [0.0] * 30


def test_short_gaps_are_bridged_by_a_line() -> None:
    values = np.linspace(-1, 1, 100)
    gappy = np.where((np.arange(100) > 40) & (np.arange(100) < 48), np.nan, values)
    found = prepare_signal(recording([gappy.tolist(), values.tolist()]), IN_MV)
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[1.0], [2.0]], "has 1 sample in each lead"),
        ([[np.nan] * 50, [1.0] * 50], "no value at all in lead I"),
        ([[1.0, np.nan] * 50, [1.0] * 100], "no value for 50% of its samples in lead I"),
        ([[np.inf] * 50, [1.0] * 50], "no value at all in lead I"),
    ],
)
def test_what_is_no_signal_is_refused(values: list[list[float]], says: str) -> None:
    with pytest.raises(UnreadableImageError, match=says):
        prepare_signal(recording(values), IN_MV)


def test_a_missing_lead_is_named_with_those_there() -> None:
    wanted = Preprocessing(samples=100, leads="I,V6")
    with pytest.raises(UnreadableImageError, match=r"no lead V6; it has i, ii\. .*--leads"):
        prepare_signal(recording([[0.0] * 99 + [1.0]] * 2), wanted)


def test_leads_are_named_once() -> None:
    for text in ("I,I", "I,,II", "", "II,lead ii"):
        with pytest.raises(ValueError, match="name each lead once"):
            Preprocessing(samples=100, leads=text)


def test_a_folder_of_records_and_tables_is_a_source(tmp_path: Path) -> None:
    folder = write_ecgs(tmp_path / "ecgs", ["sinus rhythm", "atrial flutter"], 4)
    (folder / "sinus-rhythm" / "000.atr").write_bytes(b"notes of somebody")
    source = open_source(folder, preprocessing=Preprocessing(samples=500), cache=tmp_path / "c")
    assert source.pixels.shape == (8, 12, 500)
    assert source.pixels.dtype == np.float16
    assert source.index.class_names == ("atrial-flutter", "sinus-rhythm")
    assert set(source.index.modalities.texts()) == {"ECG"}
    assert source.volumes is None
    again = open_source(folder, preprocessing=Preprocessing(samples=500), cache=tmp_path / "c")
    np.testing.assert_array_equal(again.gather(np.arange(8)), source.gather(np.arange(8)))


def test_a_record_and_the_table_of_the_same_ecg_are_one_signal(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 0.5, (12, 500)).round(3)
    write_record(tmp_path / "f" / "a" / "1.hea", values, rate=100)
    write_table(tmp_path / "f" / "b" / "2.csv", values, rate=100)
    source = open_source(tmp_path / "f", preprocessing=Preprocessing(samples=500), cache=tmp_path)
    np.testing.assert_array_equal(source.pixels[0], source.pixels[1])
    assert source.hashes[0] == source.hashes[1]


def test_a_manifest_of_signals(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 0.5, (4, 12, 600))
    for number, one in enumerate(values[:3]):
        write_record(tmp_path / f"{number}.hea", one, rate=100)
    write_table(tmp_path / "3.csv", values[3], rate=None)
    rows = ["path,label,patient", "0.hea,a,p1", "1.hea,b,p2", "2.hea,a,p1", "3.csv,b,p3"]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    wanted = Preprocessing(samples=600, csv_rate=100)
    source = open_source(tmp_path / "m.csv", preprocessing=wanted, cache=tmp_path / "c")
    assert len(source) == 4
    assert len(set(source.groups.tolist())) == 3  # rows 0 and 2 are of one patient


def test_nothing_that_a_header_says_of_a_person_is_kept_but_the_sex(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 0.5, (12, 600))
    said = ("Age: 56", "Sex: Female", "Name: Jane Doe", "12/03/1964")
    for number, label in enumerate("ab"):
        write_record(tmp_path / "f" / label / f"{number}.hea", values + number, comments=said)
    found = scan(tmp_path / "f").index
    assert found.column("sex").texts() == ["F", "F"]
    assert "Jane" not in repr(found)
    assert "1964" not in repr(found)
    told = json.dumps(inspect_source(tmp_path / "f").to_dict())
    assert "Jane" not in told
    assert "1964" not in told


def test_signals_are_looked_at(tmp_path: Path) -> None:
    folder = write_ecgs(tmp_path / "ecgs", ["sinus rhythm", "atrial flutter"], 2)
    found = inspect_source(folder)
    assert found.usable
    assert found.classes == {"atrial-flutter": 2, "sinus-rhythm": 2}
    assert found.modalities == {"ECG": 4}
    assert found.sizes["largest"] == (12, 2500)
    assert {file.kind for file in found.files} == {"signal"}
    assert len(found.files) == 6  # two tables, two headers and their samples


def test_pictures_and_signals_are_not_taken_for_each_other(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_ecgs(tmp_path / "ecgs", ["sinus rhythm", "atrial flutter"], 2)
    with pytest.raises(UnreadableImageError, match=r"is a signal.*--samples.*draw-ecg"):
        open_source(folder, preprocessing=Preprocessing(), cache=tmp_path / "c")
    Image.new("L", (32, 32)).save(folder / "sinus-rhythm" / "x.png")
    with pytest.raises(UnreadableImageError, match=r"x\.png: is no signal"):
        open_source(folder, preprocessing=Preprocessing(samples=500), cache=tmp_path / "c")
    (folder / "sinus-rhythm" / "x.png").rename(folder / "sinus-rhythm" / "000.png")
    with pytest.raises(UnreadableImageError, match=r"000\.png: is no signal"):  # no part of 000.hea
        open_source(folder, preprocessing=Preprocessing(samples=500), cache=tmp_path / "c")
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 32, 32), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(UnreadableImageError, match="is no signal"):
        open_source(tmp_path / "a.npz", preprocessing=Preprocessing(samples=500), cache=tmp_path)


def test_what_cannot_be_read_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    folder = write_ecgs(tmp_path / "ecgs", ["sinus rhythm", "atrial flutter"], 3)
    values = np.random.default_rng(1).normal(0, 0.5, (12, 600))
    write_record(folder / "sinus-rhythm" / "short.hea", values[:, :1])
    write_record(folder / "sinus-rhythm" / "cut.hea", values, n=900)
    write_record(folder / "sinus-rhythm" / "few.hea", values[:2], leads=LEADS[6:8])
    wanted = Preprocessing(samples=500)
    with pytest.raises(UnreadableImageError) as caught:
        open_source(folder, preprocessing=wanted, cache=tmp_path / "c")
    for text in ("short.hea: has 1 sample", "cut.hea: is cut short", "few.hea: has no lead I;"):
        assert f"sinus-rhythm/{text}" in str(caught.value)
    kept = open_source(folder, preprocessing=wanted, cache=tmp_path / "c", skip_bad=True)
    assert len(kept) == 6


def test_signals_have_no_grey_levels() -> None:
    source = synthetic_ecgs(Preprocessing(samples=200), each=2, classes=["sinus rhythm"])
    with pytest.raises(DataError, match="no grey levels"):
        standardised([source], "site")


def test_synthetic_sources_by_name(tmp_path: Path) -> None:
    wanted = Preprocessing(samples=200)
    source = open_source(Path("synthetic:ecg"), preprocessing=wanted)
    other = open_source(Path("synthetic:ecg:1"), preprocessing=wanted)
    assert len(source.index.class_names) == 16
    assert not set(source.hashes.tolist()) & set(other.hashes.tolist())
    with pytest.raises(DataError, match="there is synthetic:ecg"):
        open_source(Path("synthetic:eeg"), preprocessing=wanted)
    with pytest.raises(DataError, match="--samples"):
        open_source(Path("synthetic:ecg"), preprocessing=Preprocessing())
    with pytest.raises(SettingsError, match="no class of synthetic ECGs"):
        synthetic_recording("healthy", 0)

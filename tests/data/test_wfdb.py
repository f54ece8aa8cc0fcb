from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medmeta.data.wfdb_header import read_header
from medmeta.data.wfdb_samples import read_samples
from medmeta.errors import UnreadableImageError
from tests.data.ecg_files import write_record


def record(folder: Path, header: str, samples: bytes) -> Path:
    path = folder / "r.hea"
    path.write_text(header)
    (folder / "r.dat").write_bytes(samples)
    return path


def read(path: Path, seconds: float = 1e6) -> tuple[tuple[str, ...], float, list[list[float]]]:
    found = read_samples(path, read_header(path), seconds)
    return found.leads, found.rate, found.values.tolist()


def test_format_16_has_leads_in_turn_gain_and_zero(tmp_path: Path) -> None:
    samples = np.array(
        [[100, 300], [-100, 200], [0, 50]], "<i2"
    ).tobytes()  # two leads, three times
    header = "r 2 250 3\nr.dat 16 100(0)/mV 16 0 0 0 0 I\nr.dat 16 50(200)/mV 16 0 0 0 0 lead two\n"
    assert read(record(tmp_path, header, samples)) == (
        ("I", "lead two"),
        250.0,
        [[1.0, -1.0, 0.0], [2.0, 0.0, -3.0]],
    )


def test_format_212_packs_two_samples_in_three_bytes(tmp_path: Path) -> None:
    # -1 is FFF and 2 is 002: the low byte of the first, the high halves of both, the low of the
    # second. Then 2047 (7FF) and -2047 (801), and one sample alone: 3, with half a pair missing.
    samples = bytes([0xFF, 0x0F, 0x02, 0xFF, 0x87, 0x01, 0x03, 0x00])
    header = "r 1 360 5\nr.dat 212 1/mV 12 0 0 0 0 MLII\n"
    assert read(record(tmp_path, header, samples))[2] == [[-1, 2, 2047, -2047, 3]]


def test_format_80_counts_from_128_and_its_least_value_is_none(tmp_path: Path) -> None:
    header = "r 1 100 3\nr.dat 80 1/mV 8 0 0 0 0 II\n"
    values = read(record(tmp_path, header, bytes([128, 255, 0])))[2][0]
    assert values[:2] == [0, 127]
    assert np.isnan(values[2])


@pytest.mark.parametrize(
    ("code", "samples"),
    [
        (61, np.array([5, -6], ">i2").tobytes()),
        (24, bytes([5, 0, 0, 0xFA, 0xFF, 0xFF])),
        (32, np.array([5, -6], "<i4").tobytes()),
    ],
)
def test_other_widths(tmp_path: Path, code: int, samples: bytes) -> None:
    header = f"r 1 100 2\nr.dat {code} 1/mV 24 0 0 0 0 II\n"
    assert read(record(tmp_path, header, samples))[2] == [[5, -6]]


def test_what_a_header_may_leave_out(tmp_path: Path) -> None:
    # 250 samples a second, 200 units a millivolt, and as many samples as the file has.
    path = record(tmp_path, "r 1\nr.dat 16\n", np.array([200, -400], "<i2").tobytes())
    assert read(path) == (("lead 1",), 250.0, [[1.0, -2.0]])


def test_units_and_an_offset_into_the_file(tmp_path: Path) -> None:
    samples = b"24 bytes of another head" + np.array([1500], "<i2").tobytes()
    header = "r 1 500 1\nr.dat 16+24 1/uV 16 0 0 0 0 V1\n"
    assert read(record(tmp_path, header, samples))[2] == [[1.5]]


def test_of_a_long_record_only_the_middle_is_read(tmp_path: Path) -> None:
    n = 2_000_000  # 24 MB of samples
    counted = np.tile(np.arange(n) % 1000, (6, 1)) / 1000
    path = write_record(tmp_path / "long.hea", counted, leads=LEADS_6, rate=1000)
    tracemalloc.start()
    _, _, values = read(path, seconds=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(values[0]) == 2000
    assert values[0][:3] == pytest.approx([0.0, 0.001, 0.002])  # from sample 999,000 on
    assert peak < 4_000_000


LEADS_6 = ("I", "II", "V1", "V2", "V3", "V4")
GOOD = "r 1 100 4\nr.dat 16 1/mV 16 0 0 0 0 II\n"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "empty"),
        ("r\n", "no header"),
        ("r one 100 4\n", "no header"),
        ("r/2 1 100 4\n", "several segments"),
        ("r 0 100 4\n", "0 leads"),
        ("r 9999999 100 4\n", "leads"),
        ("r 1 -5 4\n", "cannot be"),
        ("r 1 nan 4\n", "cannot be"),
        ("r 2 100 4\nr.dat 16 1/mV\n", "cut short"),
        ("r 1 100 4\nr.dat sixteen\n", "damaged"),
        ("r 1 100 4\nr.dat 16 abc\n", "damaged"),
        ("r 1 100 4\nr.dat 16x2 1/mV\n", "another rate"),
        ("r 1 100 4\n../r.dat 16 1/mV\n", "another folder"),
        ("r 1 100 4\n/etc/passwd 16 1/mV\n", "another folder"),
        ("r 1 100 4\nr.dat 310 1/mV\n", "format 310"),
        ("r 2 100 2\nr.dat 16 1/mV\nr.dat 212 1/mV\n", "several formats"),
        ("r 1 100 5\nr.dat 16 1/mV\n", "holds 4 of 5 samples"),
        ("r 1 100 4\nother.dat 16 1/mV\n", "lacks its file"),
    ],
)
def test_a_bad_header_is_refused_in_plain_words(tmp_path: Path, header: str, says: str) -> None:
    path = record(tmp_path, header, bytes(8))
    with pytest.raises(UnreadableImageError, match=says):
        read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    words=st.lists(
        st.sampled_from(
            ["r", "r.dat", "1", "2", "16", "212", "80", "0", "-1", "1e9", "1(3)/mV", "/", "x", "\n",
             "#", "99999999999999999999", "1e400", "\x00", "é"]
        ),
        max_size=14,
    ),
    samples=st.binary(max_size=12),
)  # fmt: skip
def test_no_header_ends_in_anything_but_a_reason(
    tmp_path: Path, words: list[str], samples: bytes
) -> None:
    path = record(tmp_path, " ".join(words), samples)
    with contextlib.suppress(UnreadableImageError):
        read_samples(path, read_header(path), 10)

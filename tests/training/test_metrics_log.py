import json

import pytest

from medmeta.errors import StorageError
from medmeta.training.metrics_log import FILE, MetricsLog, read_metrics


def write(run, steps, *, from_step=0):
    log = MetricsLog(run, from_step=from_step)
    for step in steps:
        log.write(step, loss=step / 2)
    log.close()


def test_lines_are_json_with_their_step(tmp_path):
    write(tmp_path / "run", [1, 2])
    text = (tmp_path / "run" / FILE).read_text()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
    ]
    assert read_metrics(tmp_path / "run")[1] == {"step": 2, "loss": 1.0}


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path, from_step=0)
    log.write(1, loss=1.0)
    assert len(read_metrics(tmp_path)) == 1
    log.close()


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    write(tmp_path, range(1, 8))
    write(tmp_path, [6, 7, 8], from_step=5)
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 9))


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3', "\0\0\0", "\udcff", "3", "{}"])
def test_a_torn_line_counts_as_not_written(tmp_path, torn):
    write(tmp_path, [1, 2])
    with (tmp_path / FILE).open("ab") as file:
        file.write(torn.encode("utf-8", "surrogateescape"))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    write(tmp_path, [3], from_step=2)
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_what_is_not_a_number_is_null(tmp_path):
    log = MetricsLog(tmp_path, from_step=0)
    log.write(1, validation=float("nan"), loss=float("inf"))
    log.close()
    assert (tmp_path / FILE).read_text() == '{"step": 1, "validation": null, "loss": null}\n'


def test_a_full_disk_is_said_while_writing_and_while_closing(tmp_path):
    log = MetricsLog(tmp_path, from_step=0)
    log._file.close()
    try:
        log._file = open("/dev/full", "a")  # noqa: SIM115
    except OSError:
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match=r"metrics\.jsonl .*No space"):
        log.write(1, loss=1.0)
    with pytest.raises(StorageError, match=r"metrics\.jsonl .*No space"):
        log.close()


def test_no_log_is_no_lines(tmp_path):
    assert read_metrics(tmp_path / "nowhere") == []

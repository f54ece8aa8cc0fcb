import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from medmeta.training.metrics_log import read_metrics
from tests.training.tiny_run import end_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# A checkpoint every 3 steps and a model nearly every 4: about half the time is spent on saving.
LONG = {"steps": 240, "schedule": "cosine", "validate_every": 4, "patience": 100, "log_every": 1}
SHORT = {"steps": 10, "schedule": "cosine", "validate_every": 4, "checkpoint_every": 3}


class Forker:
    """Starts trainings as processes of their own and says how each ended."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.killed_runs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, run, settings, die_at=None):
        order = {"run": str(run), "settings": settings, "die_at": die_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        """Exit code and number of changes on the disk (-1 where it was killed)."""
        code, changes = self.process.stdout.readline().split()
        return int(code), int(changes)

    def train(self, run, settings, die_at=None):
        self.start(run, settings, die_at)
        return self.end()


@pytest.fixture(scope="module")
def forker():
    forker = Forker()
    yield forker
    forker.process.stdin.close()
    assert forker.process.wait(60) == 0
    forker.process.stdout.close()


@pytest.fixture(scope="module")
def whole_long(forker, tmp_path_factory):
    run = tmp_path_factory.mktemp("long")
    assert forker.train(run, LONG)[0] == 0
    return end_of(run)


@pytest.fixture(scope="module")
def whole_short(forker, tmp_path_factory):
    """How an unbroken run ends, and how often it changes something on the disk."""
    run = tmp_path_factory.mktemp("short")
    code, changes = forker.train(run, SHORT)
    assert code == 0
    return end_of(run), changes


def kill_and_resume(forker, run, kills, seed):
    """Kill a run some time after each of ``kills`` random steps, then let it end."""
    chance = random.Random(seed)
    for step in sorted(chance.sample(range(5, LONG["steps"] - 30), kills)):
        child = forker.start(run, LONG)
        deadline = time.monotonic() + 60
        while len(read_metrics(run)) < step and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert forker.end() == (-signal.SIGKILL, -1)
    assert forker.train(run, LONG)[0] == 0


def test_three_kills_at_random_change_no_bit(forker, whole_long, tmp_path):
    kill_and_resume(forker, tmp_path, 3, seed=0)
    assert end_of(tmp_path) == whole_long


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 6))
def test_ten_kills_at_random_change_no_bit(forker, whole_long, tmp_path, seed):
    kill_and_resume(forker, tmp_path, 10, seed)
    assert end_of(tmp_path) == whole_long


def check_kill_before_change(forker, whole, run, number):
    assert forker.train(run, SHORT, number) == (-signal.SIGKILL, -1)
    assert forker.train(run, SHORT)[0] == 0
    assert end_of(run) == whole
    assert {p.name for p in run.iterdir()} == {
        "checkpoint-000000009",
        "checkpoint-000000010",
        "metrics.jsonl",
        *(p.name for p in run.glob("model-*")),
    }


def test_a_kill_before_any_change_on_the_disk_changes_no_bit(forker, whole_short, tmp_path):
    whole, changes = whole_short
    chance = random.Random(0)
    for number in sorted(chance.sample(range(changes), 8)):
        check_kill_before_change(forker, whole, tmp_path / str(number), number)


@pytest.mark.long
def test_a_kill_before_every_change_on_the_disk_changes_no_bit(forker, whole_short, tmp_path):
    whole, changes = whole_short
    for number in range(changes):
        check_kill_before_change(forker, whole, tmp_path / str(number), number)


def test_kill_upon_kill_changes_no_bit(forker, whole_short, tmp_path):
    """Each process dies a little later in its own life than the last, until one comes through."""
    whole, _ = whole_short
    deaths, die_at = 0, 4
    while forker.train(tmp_path, SHORT, die_at)[0] == -signal.SIGKILL:
        deaths += 1
        die_at += 3
    assert deaths >= 5
    assert end_of(tmp_path) == whole

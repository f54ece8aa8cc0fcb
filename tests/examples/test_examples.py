"""Every script in examples/ runs, with the smallest settings it takes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
SMALL = {
    "learn_a_task.py": ["--steps", "4", "--size", "28"],
    "own_encoder.py": ["--steps", "2", "--size", "32"],
    "segment_vessels.py": ["--steps", "4", "--size", "32"],
}
SAYS = {
    "learn_a_task.py": "% right",
    "own_encoder.py": "% right",
    "segment_vessels.py": "of centre lines",
}
NEEDS = {"own_encoder.py": "transformers"}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_the_example_runs(script: Path) -> None:
    if script.name in NEEDS and importlib.util.find_spec(NEEDS[script.name]) is None:
        pytest.skip(f"{NEEDS[script.name]} is not installed")
    done = subprocess.run(
        [sys.executable, str(script), *SMALL.get(script.name, [])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[script.name] in done.stdout

"""Every script in examples/ runs, with the smallest settings it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
SMALL = {
    "learn_a_task.py": ["--steps", "4", "--size", "28"],
    "segment_vessels.py": ["--steps", "4", "--size", "32"],
}
SAYS = {"learn_a_task.py": "% right", "segment_vessels.py": "of centre lines"}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_the_example_runs(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), *SMALL.get(script.name, [])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[script.name] in done.stdout

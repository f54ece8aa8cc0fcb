from __future__ import annotations

import sys
from pathlib import Path

# Scripts of a folder import one another by name, as they do when one of them is run.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

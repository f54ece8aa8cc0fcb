"""Damaged files through every reader: nothing may crash, hang or take memory without bound.

    python benchmarks/fuzz_readers.py --minutes 5

Files are damaged copies of some made here and of real ones (``--data``). They are read by a child
process, which must answer for each within ten seconds, with pictures or with an error of medmeta.
Ends with exit code 1 where one did not; such files are kept in ``--keep``, with the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES, FIRST_SECONDS = 10.0, 1024, 120.0


def read_everything(path: Path) -> str:
    """What became of a file: ``read``, or the kind of error of medmeta that it was refused by."""
    from medmeta.data.archive import read_archive
    from medmeta.data.medical import find_scans, medical_kind, read_slices, slices_of
    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.readers import read_image
    from medmeta.data.zipped import is_zip, unpacked
    from medmeta.errors import MedmetaError

    prepared = Preprocessing(size=16, channels=1)
    try:
        files = [path]
        if path.suffix == ".npz":
            for number, _ in enumerate(read_archive(path).images):
                if number > 8:
                    break
            return "read"
        if is_zip(path):
            files = [p for p in unpacked(path).rglob("*") if p.is_file()][:20]
        scans, problems = find_scans([f for f in files if medical_kind(f)], root=path.parent)
        for scan in scans:
            n = slices_of(scan, prepared)
            list(read_slices(scan, sorted({0, n // 2, n - 1}), prepared))
        for file in files:
            if not medical_kind(file):
                read_image(file)
    except MedmetaError as error:
        return type(error).__name__
    return "read" if scans or not problems else "refused"


def child() -> None:
    """Answer for each path that comes on standard input, by a line of JSON."""
    import warnings

    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            found = read_everything(Path(line.strip()))
        except Exception as error:
            found = f"! {type(error).__name__}: {error}"
        peak = most_memory()
        answers.write(json.dumps([found, peak]) + "\n")
        answers.flush()


def most_memory() -> int:
    """Megabytes that this process has held at most; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


class Reader:
    """The child; started again after it was stopped."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, path: Path) -> tuple[str, int]:
        """What became of a file, and the most megabytes the child has taken so far."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            warm = FIRST_SECONDS
        else:
            warm = SECONDS
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        watch = threading.Timer(warm, self.process.kill)
        watch.start()
        started = time.monotonic()
        with contextlib.suppress(OSError):
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        watch.cancel()
        if line:
            found, peak = json.loads(line)
            return str(found), int(peak)
        spent, code = time.monotonic() - started, self.process.wait()
        self.process = None
        return (f"! no answer in {spent:.0f} s" if spent >= warm - 1 else f"! ended by {code}"), 0

    def restart(self) -> None:
        """Begin again with an empty memory."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def main() -> None:
    """Damage files for so many minutes, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--keep", type=Path, default=ROOT / "runs" / "fuzz")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child()
        return
    from fuzz_files import damaged, seeds

    random, reader, bad = np.random.default_rng(arguments.seed), Reader(), 0
    counts: Counter[str] = Counter()
    end, peak = time.monotonic() + 60 * arguments.minutes, 0
    with tempfile.TemporaryDirectory() as folder:
        files = seeds(Path(folder) / "seeds", arguments.data)
        queue = list(files)  # each of them once as it is
        while time.monotonic() < end:
            whole = queue.pop(0) if queue else None
            source = whole or files[int(random.integers(len(files)))]
            content = source.read_bytes()
            path = Path(folder) / f"case{''.join(source.suffixes[-2:])}"
            path.write_bytes(content if whole else damaged(content, random))
            found, used = reader.ask(path)
            peak = max(peak, used)
            if used > MEGABYTES:
                found = f"! {used} MB"
                reader.restart()
            counts[found if found.startswith("!") else f"{found}"] += 1
            if found.startswith("!"):
                bad += 1
                arguments.keep.mkdir(parents=True, exist_ok=True)
                kept = arguments.keep / f"{arguments.seed}-{sum(counts.values())}-{source.name}"
                shutil.copy(path, kept)
                print(f"{found}: {kept}", flush=True)
    reader.restart()
    print(
        json.dumps(
            {
                "files": sum(counts.values()),
                "from": len(files),
                "bad": bad,
                "most_megabytes": peak,
                "seed": arguments.seed,
                "became": dict(counts.most_common()),
            },
            indent=1,
        )
    )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

"""Install the libraries that medmeta is compared with into ``.peers``, beside no one else's.

    python benchmarks/install_peers.py

Nothing is added to the environment that this runs in: all goes into one folder, which only
``peers.py`` puts on the path. torch is never installed; the one at hand is used, with the
torchvision of the same age. A library that cannot be installed here is named and left out. Needs a
C compiler for learn2learn, whose generated C is for older Pythons and is made anew.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from peers import PEERS

# What each library imports, in the versions it was tried with; torch, numpy, scipy, pillow and
# packaging are medmeta's own.
SHARED = ("tqdm==4.70.1", "requests==2.34.2", "urllib3", "idna", "certifi", "charset-normalizer")
PLAIN = {
    "higher": ("higher==0.2.1",),
    "torchopt": ("torchopt==0.7.3", "optree==0.20.0", "graphviz==0.21"),
    "torchvision": ("torchvision==0.{torchvision}.*",),
    "easyfsl": (
        "easyfsl==1.5.0",
        "pandas==3.1.1",
        "pytz",
        "tzdata",
        "python-dateutil",
        "six",
        "matplotlib==3.11.2",
        "contourpy",
        "cycler",
        "fonttools",
        "kiwisolver",
        "pyparsing",
    ),
    "torchmeta": ("torchmeta==1.8.0", "ordered-set==4.1.0", "h5py==3.16.0"),
}
LEARN2LEARN = "learn2learn==0.2.0"
LEARN2LEARN_NEEDS = ("gym==0.26.2", "gym_notices==0.1.0", "cloudpickle==3.1.2")
CYTHON = "cython==3.3.1"


def pip(*words: str) -> None:
    """Run pip without dependencies, so that no library brings a torch of its own."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, "--no-deps"]
    subprocess.run([*command, "--quiet", "--no-input"], check=True)


def install(packages: Sequence[str], into: Path) -> None:
    """Put packages into the folder."""
    pip("install", "--upgrade", "--target", str(into), *packages)


def torchvision_minor() -> int:
    """The torchvision of this torch: 0.28 goes with torch 2.13, and so on, one for one.

    >>> torchvision_minor() > 20
    True
    """
    return int(version("torch").split(".")[1]) + 15


def install_learn2learn(into: Path) -> None:
    """Build learn2learn from its source, its C made anew by Cython for this Python."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pip("download", "--no-binary", ":all:", "--no-build-isolation", "-d", place, LEARN2LEARN)
        pip("install", "--target", str(folder / "cython"), CYTHON)
        (archive,) = folder.glob("learn2learn-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (source,) = (p for p in folder.glob("learn2learn-*") if p.is_dir())
        for stale in (source / "learn2learn" / "data").glob("*.c"):
            stale.unlink()
        for module in sorted((source / "learn2learn" / "data").glob("*.pyx")):
            command = [sys.executable, "-m", "cython", "-3", str(module)]
            subprocess.run(command, check=True, env={"PYTHONPATH": str(folder / "cython")})
        pip("install", "--upgrade", "--no-build-isolation", "--target", str(into), str(source))
    install(LEARN2LEARN_NEEDS, into)


def attempt(name: str, work: Callable[[], None]) -> bool:
    """Do it; a library that will not be installed is told and left out."""
    print(f"{name} ...", flush=True)
    try:
        work()
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        print(f"{name} was left out: {error}", flush=True)
        return False
    return True


def check() -> bool:
    """Import each library in a Python of its own, and say which do not."""
    whole = True
    for name in PEERS:
        code = f"import peers; print(peers.version_of({name!r}))"
        here = Path(__file__).parent
        done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True)
        lines = (done.stdout or done.stderr).decode().strip().splitlines()
        print(f"{name}: {lines[-1] if lines else 'says nothing'}", flush=True)
        whole = whole and done.returncode == 0
    return whole


def main() -> None:
    """Install all of them, or those named; then import each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true", help="remove what is there first")
    arguments = parser.parse_args()
    from peers import FOLDER

    if arguments.again:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    attempt("what they share", lambda: install(SHARED, FOLDER))
    for name, packages in PLAIN.items():
        named = [p.format(torchvision=torchvision_minor()) for p in packages]
        attempt(name, lambda named=named: install(named, FOLDER))  # type: ignore[misc]
    attempt("learn2learn", lambda: install_learn2learn(FOLDER))
    sys.exit(0 if check() else 1)


if __name__ == "__main__":
    main()

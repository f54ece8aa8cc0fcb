"""``medmeta doctor``: what this machine has, what is wrong with it, and what to do about that.

Nothing is imported to be looked at: torch alone would take longer than all the rest.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medmeta.app.commands.options import AsJson
from medmeta.app.terminal import emit_json, out, show_facts, show_table
from medmeta.version import __version__

EXTRAS = {
    "deidentify": ("dicom-anonymizer", "medmeta data deidentify"),
    "features": ("scikit-image", "the encoder hog_colour"),
    "search": ("optuna", "longer searches of adapt --budget"),
    "parquet": ("pyarrow", "Parquet manifests"),
    "slides": ("openslide-python", "slides and tiled TIFF"),
    "tensorboard": ("tensorboard", "medmeta train --tensorboard"),
}
LEAST_FREE = 2**30
NOT_LOOKED_AT = "not looked at; use --gpu"
Problem = dict[str, str]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Also ask torch for its GPU; takes seconds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Versions, cores, memory, cache and GPU; what is wrong, and what to do. Exit code 2 if so.

    Example: medmeta doctor
    """
    found = examined(gpu=gpu)
    if as_json:
        emit_json(found)
    else:
        _show(found)
    if found["problems"]:
        raise typer.Exit(2)


def examined(*, gpu: bool = False) -> dict[str, Any]:
    """What there is, as JSON; ``problems`` say what is wrong and what to do."""
    libraries, problems = _libraries()
    cache = _cache()
    threads, bad_threads = _threads()
    problems += [*bad_threads, *_cache_problems(cache)]
    device = NOT_LOOKED_AT
    if gpu:
        device, bad_gpu = _gpu()
        problems += bad_gpu
    return {
        "medmeta": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": libraries,
        "extras": [
            {
                "name": extra,
                "gives": gives,
                "version": (version := _version(library)),
                "get": None if version else f"pip install 'medmeta[{extra}]'",
            }
            for extra, (library, gives) in EXTRAS.items()
        ],
        "cores": _cores(),
        "threads": threads,
        "memory": _memory(),
        "cache": cache,
        "gpu": device,
        "problems": problems,
    }


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _libraries() -> tuple[dict[str, str | None], list[Problem]]:
    """Version of each library that medmeta needs, and those missing or too old or new."""
    try:
        wanted = importlib.metadata.requires("medmeta") or []
    except importlib.metadata.PackageNotFoundError:
        return {}, [_problem("medmeta is not installed, only found", "run 'pip install .' in it")]
    versions, problems = {}, []
    for requirement in (text for text in wanted if ";" not in text):  # no extras
        name = re.split(r"[<>=!~ ]", requirement, maxsplit=1)[0]
        version = versions[name] = _version(name)
        if version is None:
            problems.append(_problem(f"{name} is missing", f"pip install '{requirement}'"))
        elif not fits(version, requirement):
            told = f"{name} {version} does not go with this medmeta"
            problems.append(_problem(told, f"pip install '{requirement}'"))
    return versions, problems


def fits(version: str, requirement: str) -> bool:
    """Whether a version is within the bounds (``>=`` and ``<``) of a requirement.

    >>> fits("2.13.0+cpu", "torch<2.14,>=2.8"), fits("2.7.1", "torch<2.14,>=2.8")
    (True, False)
    """
    number = _numbers(version)
    for sign, bound in re.findall(r"(>=|<)\s*([\d.]+)", requirement):
        if (number >= _numbers(bound)) != (sign == ">="):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` as ``(2, 13)``: without trailing zeros, so that 2.8 is 2.8.0."""
    leading = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else [0]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> tuple[int, list[Problem]]:
    """Threads that torch will use: one per core, unless the environment says otherwise."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if not given:
        return _cores(), []
    if given.isdigit() and int(given) > 0:
        return int(given), []
    told = f"OMP_NUM_THREADS is {given!r}, which is no number of threads"
    return _cores(), [_problem(told, "unset it, or set it to a number")]


def _memory() -> dict[str, int | None]:
    """Bytes in all, and bytes that can be had now; None where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    total = None
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = None
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        text = ""
    if line := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
        available = 1024 * int(line[1])
    return {"total": total, "available": available}


def _cache() -> dict[str, Any]:
    """The folder of decoded images: whether it can be written, its bytes, and those free there."""
    from medmeta.data.store import default_cache

    folder = default_cache()
    nearest = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    return {
        "folder": str(folder),
        "writable": nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK),
        "bytes": sum(map(_bytes, folder.rglob("*"))) if folder.is_dir() else 0,
        "free": shutil.disk_usage(nearest).free,
    }


def _bytes(path: Path) -> int:
    """Of a file; 0 for a folder, and for what was removed meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _cache_problems(cache: Mapping[str, Any]) -> Iterator[Problem]:
    elsewhere = "name a folder on another disk with MEDMETA_CACHE"
    if not cache["writable"]:
        told = f"{cache['folder']} cannot be written, so every run decodes the images again"
        yield _problem(told, elsewhere)
    elif cache["free"] < LEAST_FREE:
        told = f"only {_size(cache['free'])} are free where decoded images are kept"
        yield _problem(told, f"make room, delete {cache['folder']}, or {elsewhere}")


def _gpu() -> tuple[str, list[Problem]]:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0), []
    if not Path("/dev/nvidia0").exists():
        return "none found", []
    told = f"there is a GPU, but torch {torch.__version__} cannot use it"
    return "none that torch can use", [
        _problem(told, "install a CUDA build of torch (pytorch.org) and a driver as new as it")
    ]


def _problem(what: str, remedy: str) -> Problem:
    return {"what": what, "do": remedy}


def _size(n_bytes: int | None) -> str:
    return "not known" if n_bytes is None else f"{n_bytes / 1e9:.1f} GB"


def _show(found: Mapping[str, Any]) -> None:
    memory, cache = found["memory"], found["cache"]
    facts = {name: found[name] for name in ("medmeta", "python", "system")}
    facts |= {name: version or "missing" for name, version in found["libraries"].items()}
    facts |= {
        "cores": f"{found['cores']} ({found['threads']} threads)",
        "memory": f"{_size(memory['total'])} ({_size(memory['available'])} can be had now)",
        "cache": f"{cache['folder']} ({_size(cache['bytes'])}; {_size(cache['free'])} free)",
        "gpu": found["gpu"],
    }
    show_facts("This machine", facts)
    rows = [(e["name"], e["gives"], e["version"] or e["get"]) for e in found["extras"]]
    show_table("Extras", ["extra", "gives", "version"], rows)
    if found["problems"]:
        told = [(problem["what"], problem["do"]) for problem in found["problems"]]
        show_table("Problems", ["what is wrong", "what to do"], told)
    else:
        out.print("Nothing is wrong.")

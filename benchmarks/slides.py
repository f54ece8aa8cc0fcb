"""Memory and time of reading a slide by its tiles, and of answering it, in a child process.

    python benchmarks/slides.py SLIDE_PICTURES.npz            a slide of 20,000 × 20,000 pixels
    python benchmarks/slides.py SLIDE_PICTURES.npz --side 4096 --quick

``SLIDE_PICTURES.npz`` has ``images`` of histology or blood, of which the slide is made (and, with
``task_names``, those of one task). Writes ``docs/slides.json`` and the table of ``docs/speed.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine_limits import describe_machine, load_average
from made_slide import load_pictures, write_slide
from medmeta.storage import write_json
from page_tables import replace_between
from process_memory import forget_peak, resident_now, resident_peak

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "slides.json"
PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- slides table: begin -->", "<!-- slides table: end -->"
WORKS = {
    "tiles": "finding all tissue and reading every tile of it, 64 pixels at 0.5 µm",
    "source": "the same as a source, its tiles decoded into the cache",
    "bag": "64 of its tiles through Conv-4, pooled by attention",
}


def child(work: str, slide: Path) -> dict[str, Any]:
    """One work in this process: MB above those of the idle process, seconds, tiles."""
    import torch

    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.slide_file import opened_slide
    from medmeta.data.slide_tiles import read_tiles, tile_count
    from medmeta.data.slides import tiles_at_once
    from medmeta.data.sources import open_source
    from medmeta.encoders import EncoderConfig, build_encoder

    torch.set_num_threads(1)
    wanted = Preprocessing(size=64, mpp=0.5, slices=512, depth=64 if work == "bag" else 0)
    encoder = None
    if work == "bag":
        encoder = build_encoder(EncoderConfig(name="slicewise"), wanted.input_spec, norm="group")
    with opened_slide(slide):  # the library is loaded in the idle process
        pass
    forget_peak()
    idle, start = resident_now(), time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        if work == "tiles":
            n = tile_count(slide, wanted)
            step = tiles_at_once(wanted)
            for first in range(0, n, step):
                read_tiles(slide, range(first, min(n, first + step)), wanted)
        else:
            source = open_source(slide.parent.parent, preprocessing=wanted, cache=Path(cache))
            n = len(source) if encoder is None else 64
            if encoder is not None:
                from medmeta.data.preprocess import as_float

                with torch.no_grad():
                    encoder(as_float(torch.from_numpy(source.pixels[:1].copy())))
    seconds = time.perf_counter() - start
    return {"tiles": n, "seconds": round(seconds, 2), "mb": round(resident_peak() - idle, 1)}


def measured(work: str, slide: Path) -> dict[str, Any]:
    """What a child process says of a work."""
    command = [sys.executable, __file__, "--child", work, str(slide)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(held: dict[str, Any]) -> str:
    """The works as a Markdown table."""
    side = f"{held['side']:,}"
    lines = [
        f"A slide of {side} × {side} pixels ({held['file_mb']:,} MB of JPEG tiles, "
        f"{held['side'] ** 2 * 3 / 1e6:,.0f} MB unpacked). MB are those at most above the idle "
        "process, in which everything is imported.",
        "",
        "| work | tiles | seconds | MB |",
        "|---|---|---|---|",
    ]
    rows = held["works"].items()
    lines += [f"| {WORKS[k]} | {w['tiles']:,} | {w['seconds']} | {w['mb']:g} |" for k, w in rows]
    return "\n".join(lines)


def main() -> None:
    """Make the slide, measure the works, write them down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--task", default="glas", help="part of the name of its task")
    parser.add_argument("--quick", action="store_true", help="try it out; keep nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child[0], Path(arguments.child[1]))))
        return
    if arguments.pictures is None:
        parser.error("name an npz of pictures")
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slides" / "tissue" / "slide.tif"
        slide.parent.mkdir(parents=True)
        write_slide(slide, load_pictures(arguments.pictures, arguments.task), side=arguments.side)
        held: dict[str, Any] = {
            "side": arguments.side,
            "pictures": arguments.pictures.name,
            "file_mb": round(slide.stat().st_size / 1e6),
            "machine": describe_machine(),
            "load_average_before": load_average(),
            "works": {work: measured(work, slide) for work in WORKS},
        }
    print(json.dumps(held["works"], indent=1))
    if not arguments.quick:
        write_json(RESULTS, held)
        replace_between(PAGE, BEGIN, END, table(held))


if __name__ == "__main__":
    main()

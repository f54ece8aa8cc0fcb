"""All learners on medical sources that none was trained on: one table, the same tasks for all.

    python benchmarks/medical.py --part features              heads on features without training
    python benchmarks/medical.py --part train --learner maml  train (or go on), then measure
    python benchmarks/medical.py --part train --learner ridge --steps 3200   with more training
    python benchmarks/medical.py --part heads                 heads on the shared trained encoder
    python benchmarks/medical.py --part support               networks that see the support only
    python benchmarks/medical.py --part curve                 accuracy against images per class

What is in ``docs/medical.json`` already is not measured again (``--again``); a training that was
stopped goes on. The tables of ``docs/results.md`` are written anew after each row.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from medical_measuring import Asked, Bench
from medical_recipes import (
    CHEAP_HEADS,
    CURVE_SHOTS,
    CURVE_SOURCE,
    FEW_TASKS,
    GROUPED,
    HAND_MADE,
    SHARED,
    SLOW_HEADS,
    STEPS,
    TASKS,
    TRAINED,
    TRAINED_ON,
    TRANSDUCTIVE_HEADS,
    UNTRAINED,
    WHOLE_NETWORK,
    budget,
    called_after,
)
from medmeta.app.models import LoadedModel, load_model
from medmeta.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
DATA = "shared/data/classification"
COMMAND = "python benchmarks/medical.py --part"


def features(bench: Bench) -> None:
    """Heads on raw pixels, hand-made features, the border alone, and a network as it was born."""
    for one in UNTRAINED:
        for head in CHEAP_HEADS:
            asked = Asked(head, one.called, TASKS, command=f"{COMMAND} features")
            bench.measure(asked, partial(bench.untrained, head, one))


def trained(bench: Bench, names: Sequence[str], steps: int = STEPS) -> None:
    """Train each learner for the same number of tasks, and measure it."""
    more = "" if steps == STEPS else f" --steps {steps}"
    for name in names:
        run = bench.runs / f"medical-{name}{more.replace(' --steps ', '-')}"
        called = called_after("Conv-4 by groups" if name == GROUPED else "Conv-4", steps)
        learner = name.removesuffix("_by_groups")
        command = f"{COMMAND} train --learner {name}{more}"
        tasks = FEW_TASKS if name in WHOLE_NETWORK else TASKS
        if bench.is_done(Asked(learner, called, tasks, command)):
            continue
        asked = Asked(learner, called, tasks, command, told=_train(name, run, bench, steps))
        bench.measure(asked, partial(load_model, run))


def _train(name: str, run: Path, bench: Bench, steps: int) -> dict[str, Any]:
    """By the command line, going on where it was stopped; the seconds it took in all."""
    clock = run.with_suffix(".seconds.json")
    before = json.loads(clock.read_text())["seconds"] if clock.exists() else 0.0
    sources = " ".join(shlex.quote(str(bench.data / f"{s}.npz")) for s in TRAINED_ON)
    resume = " --resume" if run.exists() else ""
    training = f"{budget(steps)} {TRAINED[name]}".strip()
    words = (
        f"train --source {sources} --learner {name.removesuffix('_by_groups')} {training} "
        f"--device {bench.device} --out {run}{resume}"
    )
    start = time.monotonic()
    binary = Path(sys.executable).with_name("medmeta")
    subprocess.run([binary, *shlex.split(words), "--json"], stdout=subprocess.PIPE, check=True)
    spent = {"seconds": round(before + time.monotonic() - start, 1)}
    write_json(clock, spent)
    return {"training_seconds": spent["seconds"], "training": training, "steps": steps}


def heads(bench: Bench) -> None:
    """Heads on the encoder that the prototypical learner trained, and on what is made of it."""
    model = load_model(bench.runs / f"medical-{SHARED}")
    slow = dict.fromkeys(SLOW_HEADS, FEW_TASKS)
    for head in (*CHEAP_HEADS, *TRANSDUCTIVE_HEADS, *SLOW_HEADS):
        asked = Asked(head, "Conv-4 of prototypical", slow.get(head, TASKS), f"{COMMAND} heads")
        bench.measure(asked, partial(bench.with_head, model, head))
    for called in ("all stages", "flips", "all stages, flips", "hand-made beside it"):
        for head in ("ridge", "prototypical"):
            asked = Asked(head, f"Conv-4, {called}", TASKS, f"{COMMAND} heads")
            bench.measure(asked, partial(bench.variant, model, head, called))


def tuned_from(bench: Bench) -> list[tuple[str, LoadedModel | None]]:
    """Where fine-tuning starts: at a trained network (normalised by groups), or at nothing."""
    run = bench.runs / f"medical-{GROUPED}"
    return [("Conv-4 by groups", load_model(run)), ("Conv-4 by groups, from nothing", None)]


def support_only(bench: Bench) -> None:
    """Fine-tuning the trained network on the support, and the same network from nothing."""
    for called, start in tuned_from(bench):
        asked = Asked("fine_tuning", called, FEW_TASKS, f"{COMMAND} support")
        bench.measure(asked, partial(bench.fine_tuned, start))


def curve(bench: Bench) -> None:
    """How many labels each needs."""
    model: LoadedModel = load_model(bench.runs / f"medical-{SHARED}")
    command = f"{COMMAND} curve"
    where: dict[str, Any] = {"sources": (CURVE_SOURCE,), "shots": CURVE_SHOTS}
    bench.measure(
        Asked("ridge", "hand-made", TASKS, command, **where),
        partial(bench.untrained, "ridge", HAND_MADE),
    )
    ridge = Asked("ridge", "Conv-4, hand-made beside it", TASKS, command, **where)
    bench.measure(ridge, partial(bench.variant, model, "ridge", "hand-made beside it"))
    for called, start in tuned_from(bench):
        asked = Asked("fine_tuning", called, FEW_TASKS, command, **where)
        bench.measure(asked, partial(bench.fine_tuned, start))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ("features", "train", "heads", "support", "curve")
    parser.add_argument("--part", nargs="+", choices=parts, default=["features"])
    parser.add_argument("--learner", nargs="+", choices=list(TRAINED), default=list(TRAINED))
    parser.add_argument("--steps", type=int, default=STEPS, help="of a training")
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(
        arguments.data, arguments.runs, ROOT / "docs", again=arguments.again,
        device=arguments.device,
    )  # fmt: skip
    for part in arguments.part:
        if part == "train":
            trained(bench, arguments.learner, arguments.steps)
        else:
            {"features": features, "heads": heads, "support": support_only, "curve": curve}[part](
                bench
            )
    bench.compare_all()


if __name__ == "__main__":
    main()

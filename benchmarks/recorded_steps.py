"""Training steps on a GPU, run operation by operation and replayed from a recording.

    python benchmarks/recorded_steps.py --data omniglot28.npz --runs runs

For recipes of ``omniglot_recipes.py``: milliseconds of a step either way (gradient and loss, the
batches drawn beforehand) and how far the gradients of the two are from each other. Written to
``docs/recorded_steps.json``.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch

from medmeta.episode import Episode
from medmeta.storage import write_json
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan
from omniglot_recipes import RECIPES
from omniglot_split import load_split
from omniglot_training import Place, batches_of, fresh_learner

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "recorded_steps.json"
NAMES = (
    "prototypical", "relation", "anil", "maml_five", "maml_inductive", "fomaml", "meta_sgd",
    "reptile", "meta_lstm_five", "metal_five", "maml_as_metal_five", "meta_networks", "mann",
)  # fmt: skip
BATCHES, SECONDS = 6, 1.0


def timed(gradient: StepGradient, episodes: list[Episode]) -> float:
    """Milliseconds of a step, over about a second of them."""
    gradient(episodes[0])
    torch.cuda.synchronize()
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        gradient(episodes[n % len(episodes)])
        n += 1
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - started) / n


def measured(name: str, place: Place) -> dict[str, Any]:
    """One recipe, from one start, on the same batches."""
    recipe = RECIPES[name]
    torch.manual_seed(0)
    training, _, _ = load_split(place.data, recipe.held_out)
    learner = fresh_learner(recipe, place).to(place.device)
    trained, batches = batches_of(recipe, learner, training, device=place.device)
    episodes = list(batches.batches(0, BATCHES))
    plan = TaskPlan()
    plain = StepGradient(copy.deepcopy(trained).train(), plan)
    recorded = StepGradient(copy.deepcopy(trained).train(), plan, recorded=True)
    for episode in episodes:
        found = [gradient(episode) for gradient in (plain, recorded)]
    gradients = [
        torch.cat([p.grad.flatten() for p in one.learner.parameters() if p.grad is not None])
        for one in (plain, recorded)
    ]
    assert recorded.recorded is not None
    return {
        "recipe": name,
        "tasks": episodes[0].support.n_tasks,
        "loss": round(found[0], 5),
        "loss_recorded": round(found[1], 5),
        "gradient_apart": float(torch.dist(gradients[0], gradients[1]) / gradients[0].norm()),
        "refused": recorded.recorded.refused,
        "milliseconds": round(timed(plain, episodes), 2),
        "milliseconds_recorded": round(timed(recorded, episodes), 2),
    }


def main() -> None:
    """Measure all, and write them down after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the Omniglot archive")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(NAMES))
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs a GPU")
    place = Place(given.data, given.runs, torch.get_num_threads(), "cuda")
    rows: list[dict[str, Any]] = []
    for name in given.only:
        rows.append(measured(name, place))
        print(rows[-1], flush=True)
        write_json(RESULTS, {"device": torch.cuda.get_device_name(), "rows": rows})


if __name__ == "__main__":
    main()

"""What the model in the box knows of trust: a prior learned on tasks of collections new to it.

    python benchmarks/pretrain_pack.py --first-part --state base/step-001200 --out first
    python benchmarks/box_prior.py --model first --work /tmp/lessons --box BOX --out NEW_BOX

The weights in the box have learned from two of these collections, on which they would look too
good; ``--model`` are those of the first part of the same training, to which all three are new.
Every cell (source, shot, way) that is there in ``--work`` is not measured again. With ``--out``
the model in ``--box`` is written anew with the prior beside it, and ``medmeta.box`` pins it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from medmeta.app.models import load_model
from medmeta.app.trusting import PRIOR
from medmeta.data.sources import open_source
from medmeta.evaluation.encoded import EncodedSource
from medmeta.learner import HeadedLearner
from medmeta.storage import load_folder, save_folder, write_json
from medmeta.trust.prior import TrustPrior
from medmeta.trust.source_tasks import SHOTS, Lesson, lessons, prior_from

ROOT = Path(__file__).resolve().parents[1]
NEW_TO_IT = ("pbc_blood", "pneumonia_cxr", "mednist")
WAYS = (5, 2)
SEED = 2026


def measured(model: Path, data: Path, work: Path, tasks: int) -> list[Lesson]:
    """The lessons of all cells, from their files where these are there."""
    loaded = load_model(model)
    learner = cast(HeadedLearner, loaded.learner)
    found: list[Lesson] = []
    for name in NEW_TO_IT:
        source = open_source(data / f"{name}.npz", preprocessing=loaded.preprocessing)
        encoded = EncodedSource(learner, source, budget=2**30)
        for shot in SHOTS:
            for way in WAYS:
                file = work / f"{name}-{shot}-{way}-{tasks}-{loaded.sha256[:12]}.json"
                if not file.is_file():
                    before = time.process_time()
                    made = lessons(
                        encoded, shot=shot, most_way=way, tasks=tasks, seed=SEED, dear=True
                    )
                    write_json(file, [asdict(one) for one in made])
                    print(f"{file.stem}: {time.process_time() - before:.0f} s", flush=True)
                found += [Lesson(**row) for row in json.loads(file.read_text("utf-8"))]
    return found


def with_prior(box: Path, out: Path, prior: TrustPrior) -> str:
    """Write a model folder with a prior beside its weights; the SHA-256 of its card."""
    card, parts = load_folder(box)
    told = {key: value for key, value in card.items() if key != "sha256"}
    content = json.dumps(prior.to_dict(), indent=2).encode() + b"\n"
    return save_folder(out, told, {**parts, PRIOR: content})


def main() -> None:
    """Measure what is missing, and write what was learned."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--box", type=Path, default=ROOT / "src/medmeta/box/medmeta-base")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tasks", type=int, default=8, help="of a cell")
    data = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    prior = prior_from(measured(given.model, given.data, given.work, given.tasks))
    print(prior, flush=True)
    if given.out is not None:
        print(f"{given.out}: card {with_prior(given.box, given.out, prior)}")


if __name__ == "__main__":
    main()

r"""A state of the pre-training as a model folder, with the learner that chooses on its encoder.

    python benchmarks/pretrain_pack.py --state runs/base/step-004000 --out /tmp/medmeta-base \
        --about benchmarks/medmeta_base.json

Single precision becomes half. The variances of the features on the collections that it learned
from, and on the drawn anatomy, go into the head; the pictures' content hashes go beside, so that
evaluation leaves them out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from medmeta.app.baselines import untrained_model
from medmeta.app.models import MODEL_FORMAT, PACKED_SEEN, LoadedModel
from medmeta.app.packing import pack, read_about
from medmeta.app.run_folder import hashes_to_bytes
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.synthetic import synthetic_sources
from medmeta.encoders import AbstractEncoder, Parts
from medmeta.episode import Target
from medmeta.evaluation.encoded import EncodedSource
from medmeta.learner import HeadedLearner
from medmeta.learners.auto.candidates import LEARNED
from medmeta.storage import load_folder
from medmeta.training.checkpoint import tensors_from_bytes
from past_tasks import learn_variances
from pretrain import ENCODER, STATE
from pretrain_banks import ALLOWED, HANDWRITING, SIZE

IMAGES = Preprocessing(channels=3, size=SIZE)


def model_of(state: Path, data: Path, *, collections: bool) -> LoadedModel:
    """The averaged encoder of a state as a model; ``collections``: it has learned from these."""
    options = {"encoder": {**ENCODER, "flips": True}}
    model = untrained_model("auto", options, IMAGES, Target("classes", 5))
    card, parts = load_folder(state)
    held = tensors_from_bytes(parts[STATE], where=state / STATE)
    weights = {k.removeprefix("average."): v for k, v in held.items() if k.startswith("average.")}
    _learned(model).load_state_dict(weights)
    seen = [_background(data / f"{HANDWRITING[0]}.npz")]
    if collections:
        seen += [open_source(data / f"{one[0]}.npz", preprocessing=IMAGES) for one in ALLOWED]
    hashes = np.unique(np.concatenate([source.hashes for source in seen]))
    told = [{"name": s.name, "classes": list(s.index.class_names)} for s in seen]
    made = {**model.card, "format": MODEL_FORMAT, "sources": told, "step": card["step"]}
    made["training"] = {"steps": card["steps"], "seed": card["seed"], "script": "pretrain.py"}
    beside = {PACKED_SEEN: hashes_to_bytes(hashes)}
    return LoadedModel(model.learner, made, None, "", beside)


def _background(path: Path) -> Source:
    """Omniglot's background characters; the others were never looked at."""
    with np.load(path, allow_pickle=False) as held:
        names, evaluation = held["class_names"], held["class_is_evaluation"]
    kept = [str(name) for name, other in zip(names, evaluation, strict=True) if not other]
    return open_source(path, preprocessing=IMAGES).with_classes(kept)


def _learned(model: LoadedModel) -> AbstractEncoder:
    """The network within the mean over an image and its mirror image."""
    parts = getattr(model.learner, "encoder", None)
    assert isinstance(parts, Parts)
    encoder = getattr(parts.parts[LEARNED], "encoder", None)
    assert isinstance(encoder, AbstractEncoder)
    return encoder


def main() -> None:
    """Pack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("shared/data/classification"))
    parser.add_argument("--about", type=Path)
    parser.add_argument("--first-part", action="store_true", help="collections are new to it")
    asked = parser.parse_args()
    model = model_of(asked.state, asked.data, collections=not asked.first_part)
    names = [one[0] for one in ALLOWED]
    sources = [open_source(asked.data / f"{name}.npz", preprocessing=IMAGES) for name in names]
    sources += synthetic_sources(size=SIZE, channels=3, seed=11)
    assert isinstance(model.learner, HeadedLearner)
    learn_variances(
        model.learner,
        {s.name: EncodedSource(model.learner, s, budget=2**30) for s in sources},
    )
    about = None if asked.about is None else read_about(asked.about)
    packed = pack(model, asked.out, about=about)
    print(f"{packed.folder}: {packed.n_bytes / 1e6:.2f} MB, card {packed.sha256}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

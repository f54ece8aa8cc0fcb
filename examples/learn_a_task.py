"""From synthetic sources to answers in one file: train a little, adapt to five images, ask.

Run it with ``python examples/learn_a_task.py``; it takes about a minute and writes nothing but a
temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import medmeta


def main() -> None:
    """Train on five modalities, then learn to tell three ultrasound findings apart."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    sources = medmeta.synthetic_sources(images_per_class=20, size=arguments.size)
    *training, unseen = sorted(sources, key=lambda source: source.name == "synthetic-ultrasound")
    request = medmeta.TrainRequest(
        way="5",
        shot="1-5",
        query=5,
        preprocessing=medmeta.Preprocessing(size=arguments.size),
        training=medmeta.TrainingSettings(steps=arguments.steps, validate_every=50),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        medmeta.train(request, run, sources=training)
        model = medmeta.load_model(run)
        findings = unseen.with_classes(["free-fluid", "gas-lines", "simple-cyst"])
        codes = findings.index.labels.codes
        first = [np.flatnonzero(codes == code)[:5] for code in range(3)]
        support = findings.take(np.concatenate(first))
        predictor = medmeta.adapt(model, support)
        linked = np.isin(findings.groups, findings.groups[np.concatenate(first)])
        asked = np.flatnonzero(~linked)
        answers = predictor.predict(findings.gather(asked))
        right = (answers.outputs.argmax(1) == codes[asked]).mean()
        print(f"{len(asked)} images of other patients, {100 * right:.0f} % right (chance 33 %)")


if __name__ == "__main__":
    main()

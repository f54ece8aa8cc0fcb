"""A network of your own as medmeta's encoder: here a small vision transformer of Hugging Face.

Run it with ``python examples/own_encoder.py`` (``pip install transformers``); it takes a minute,
needs no network and writes nothing but a temporary folder. Its weights are random, so that its
answers say nothing: for DINOv2 and the like, see ``docs/bring-your-own-encoder.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn

import medmeta

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what ImageNet's networks expect


class FirstToken(nn.Module):
    """A transformer's first token as the embedding, ``(N, D)``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Embed ``(N, 3, H, W)`` in the network's own units."""
        tokens: Tensor = self.model(pixel_values=images).last_hidden_state
        return tokens[:, 0]


def architecture(side: int = 32) -> nn.Module:
    """The network without its weights: what ``external:own_encoder:architecture`` makes."""
    from transformers import Dinov2Config, Dinov2Model

    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return FirstToken(Dinov2Model(Dinov2Config(image_size=side, patch_size=8, **small)))


def main() -> None:
    """Save the network with a card, put a learner on it, and learn from five images per class."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    *training, unseen = medmeta.synthetic_sources(images_per_class=12, size=arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        weights, run = Path(folder) / "own.safetensors", Path(folder) / "run"
        options = {"mean": MEAN, "std": STD, "frozen": True}
        name = "external:own_encoder:architecture"
        medmeta.save_encoder(weights, architecture(), name, options=options, licence="none needed")
        request = medmeta.TrainRequest(
            learner="ridge",  # its penalty and scale are trained, the frozen network is not
            encoder=str(weights),
            way="3",
            shot="1-5",
            query=3,
            preprocessing=medmeta.Preprocessing(size=arguments.size),
            training=medmeta.TrainingSettings(steps=arguments.steps),
            allow_external=True,
        )
        medmeta.train(request, run, sources=training)
        model = medmeta.load_model(run, allow_external=True)
        codes = unseen.index.labels.codes
        known = np.concatenate([np.flatnonzero(codes == code)[:5] for code in range(3)])
        predictor = medmeta.adapt(model, unseen.take(known).with_classes(names(unseen)))
        linked = np.isin(unseen.groups, unseen.groups[known])
        asked = np.flatnonzero(~linked & (codes < 3))
        answers = predictor.predict(unseen.gather(asked))
        right = (answers.outputs.argmax(1) == codes[asked]).mean()
        print(f"{len(asked)} images of other patients, {100 * right:.0f} % right (chance 33 %)")


def names(source: medmeta.Source) -> list[str]:
    """Its first three classes."""
    return list(source.index.class_names[:3])


if __name__ == "__main__":
    main()

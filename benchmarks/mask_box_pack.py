r"""The learner of ``mask_box.py`` as the model folder that comes with the package.

    python benchmarks/mask_box_pack.py --data shared/data --run runs/mask-box/mask-box-128 \
        --out /tmp/medmeta-masks --about benchmarks/medmeta_masks.json

Matrices of weights become half precision. The content hashes of the real pictures that it learned
from go beside, so that evaluation leaves them out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from mask_box import marked, unmarked
from medmeta.app.models import PACKED_SEEN, LoadedModel, load_model
from medmeta.app.packing import pack, read_about
from medmeta.app.run_folder import hashes_to_bytes


def boxed(run: Path, data: Path, cache: Path) -> LoadedModel:
    """The run's model, with what it has seen, and no run."""
    model = load_model(run)
    size = model.preprocessing.size
    seen = [*marked(data, cache, size), *unmarked(data, size)]
    hashes = np.unique(np.concatenate([source.hashes for source in seen]))
    return replace(model, run=None, beside={PACKED_SEEN: hashes_to_bytes(hashes)})


def main() -> None:
    """Pack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--about", type=Path)
    asked = parser.parse_args()
    about = None if asked.about is None else read_about(asked.about)
    packed = pack(boxed(asked.run, asked.data, asked.cache), asked.out, about=about)
    print(f"{packed.folder}: {packed.n_bytes / 1e6:.2f} MB, card {packed.sha256}")


if __name__ == "__main__":
    main()

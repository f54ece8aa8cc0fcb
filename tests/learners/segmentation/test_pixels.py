"""Ridge regression on pixels against the normal equations, prototypes by hand, and what is seen."""

from __future__ import annotations

import numpy as np
import torch

from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.mask_metrics import mask_metrics
from medmeta.learners import build_learner
from medmeta.learners.segmentation._pixels import fit_ridge

TARGET = Target("masks", 2)


def test_the_regression_solves_the_weighted_normal_equations() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2, 3, 5, 4, generator=random, dtype=torch.float64)
    labels = (torch.rand(1, 2, 5, 4, generator=random) < 0.3).long()
    labels[0, :, 0] = -1
    none = torch.zeros(0, 4, dtype=torch.float64)
    fitted = fit_ridge(features, labels, 2, none, penalty=1e-12)
    flat = features[0].flatten(2).transpose(1, 2).flatten(0, 1).numpy()
    wanted = labels.flatten().numpy()
    known = wanted >= 0
    x, y = flat[known], wanted[known]
    share = np.array([(y == 0).mean(), (y == 1).mean()])
    root = np.sqrt(1 / np.sqrt(share))[y]
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    solved = np.linalg.lstsq(design * root[:, None], np.eye(2)[y] * root[:, None], rcond=None)[0]
    scores = fitted.scores(features)[0].flatten(2).transpose(1, 2).flatten(0, 1)
    np.testing.assert_allclose(scores, np.c_[np.ones(len(flat)), flat] @ solved, atol=1e-6)


def test_an_image_with_few_labels_weighs_as_much_as_another() -> None:
    """Said of one pixel what is said of none: two values cannot both be met, so half of each."""
    features = torch.ones(1, 2, 1, 64, 64)
    labels = torch.zeros(1, 2, 64, 64, dtype=torch.long)
    labels[0, 1] = -1
    labels[0, 1, 5, 9] = 1
    fitted = fit_ridge(features, labels, 2, torch.zeros(0, 2), penalty=1e-9)
    scores = fitted.scores(features[:, :1])[0, 0, :, 0, 0]
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.5]), atol=1e-3, rtol=0)


def test_a_task_is_solved_alike_whatever_stands_beside_it() -> None:
    """One pixel that is not labelled in one task changes neither another task nor that one."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(3, 2, 3, 96, 96, generator=random, dtype=torch.float64)
    labels = (features[:, :, 0] > 0.8).long()
    labels[1, 0, 10, 10] = -1
    labels[2, 1, :50] = -1
    none = torch.zeros(0, 4, dtype=torch.float64)
    together = fit_ridge(features, labels, 2, none, penalty=1e-3).scores(features)
    for t in range(3):
        own = fit_ridge(features[t, None], labels[t, None], 2, none, penalty=1e-3)
        alone = own.scores(features[t, None])
        torch.testing.assert_close(together[t, None], alone, atol=1e-5, rtol=1e-5)


def test_filters_answer_edges_and_ridges() -> None:
    spec = InputSpec(1, (32, 32))
    encoder = build_encoder(EncoderConfig(name="filters"), spec, norm="group")
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16:] = 1.0
    found = encoder.dense(image)  # type: ignore[operator]
    assert found.shape == (1, encoder.embedding_size, 32, 32)
    assert torch.isfinite(found).all()
    slope = found[0, 3]  # the gradient's length at the finest scale
    assert slope[16].argmax() in (15, 16)
    assert slope[:, 0].max() < 1e-4


def test_an_untrained_conditioned_unet_is_the_regression_it_shows() -> None:
    torch.manual_seed(0)
    spec = InputSpec(3, (32, 32))
    conditioned = build_learner("conditioned_unet", {"width": 4, "levels": 2}, spec, TARGET).eval()
    ridge = build_learner("pixel_ridge", None, spec, TARGET).eval()
    images = torch.randn(1, 5, 3, 32, 32)
    labels = (images[:, :, 0] > 0.3).long()
    support = LabelledSet(images[:, :3], labels[:, :3], torch.zeros(1, dtype=torch.long))
    with torch.no_grad():
        first = conditioned.adapt(support, TARGET)(images[:, 3:])
        second = ridge.adapt(support, TARGET)(images[:, 3:])
    assert torch.equal(first.argmax(2), second.argmax(2))


def test_training_on_other_structures_helps() -> None:
    """Queries of structures that were never trained on are marked better after a few steps."""
    spec = InputSpec(3, (32, 32))
    torch.manual_seed(0)
    learner = build_learner("prototype_masks", {"encoder": {"options": {"width": 8, "levels": 2}},
                                                "grid": 4}, spec, TARGET)  # fmt: skip
    training = synthetic_structures(12, images=6, size=32, seed=1)
    unseen = synthetic_structures(6, images=6, size=32, seed=2)

    def told(name: str) -> Protocol:
        return Protocol(
            sources=(name,), kind="masks", n_way=(2, 2), n_shot=(2, 2), n_query=2,
            tasks_per_batch=8, drop_small_classes=True,
        )  # fmt: skip

    exam = EpisodeLoader(TaskSampler([unseen], told("unseen"))).batch(0)

    def dice() -> float:
        learner.eval()
        with torch.no_grad():
            answers = learner.adapt(exam.support, TARGET)(exam.query.inputs).argmax(2)
        return float(mask_metrics(answers.numpy(), exam.query.labels.numpy(), 2)["dice"].mean())

    before = dice()
    optimiser = torch.optim.Adam(learner.parameters(), 5e-3)
    loader = EpisodeLoader(TaskSampler([training], told("training")))
    for number in range(15):
        optimiser.zero_grad()
        learner.train().loss(loader.batch(number)).mean().backward()
        optimiser.step()
    assert dice() > before + 0.05

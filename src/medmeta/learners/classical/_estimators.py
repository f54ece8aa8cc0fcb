"""One scikit-learn estimator per task on embeddings: what all classical heads share.

Scikit-learn is imported where an estimator is made: it takes a second, and most commands make none.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from medmeta.episode import Inputs, LabelledSet, Predictor, Target, TargetKind, any_tensor
from medmeta.learner import AbstractLearner, Traits, check_task_fits
from medmeta.learners._precision import at_least_single
from medmeta.learners.classical._support_scale import SupportScale

Answers = Callable[[np.ndarray], np.ndarray]
LEAST_PROBABILITY = 1e-4
GRID = 2.0**-20  # of values in units of their spread: sums of them are exact
CLASSES: frozenset[TargetKind] = frozenset({"classes"})
CLASSES_AND_VALUES: frozenset[TargetKind] = frozenset({"classes", "values"})


class EstimatorHead(AbstractLearner):
    """Fits one estimator to each task's embeddings ``(T, S, D)``, standardised on its support.

    Chance comes from ``task_ids``. A class without support images gets the least probability.
    Nothing is trained across tasks, and no gradient reaches the embeddings.
    """

    def __init__(self, *, targets: frozenset[TargetKind] = CLASSES, steady: bool = False) -> None:
        """``steady``: the order of images and the names of classes do not matter."""
        super().__init__()
        self.traits = Traits(
            trainable=False,
            differentiable=False,
            order_free=steady,
            label_equivariant=steady,
            targets=targets,
            input_kinds=frozenset({"vector"}),
        )

    @abstractmethod
    def classifier(self, seed: int) -> Any:
        """An estimator of classes, not fitted; ``seed`` is the task's."""

    def regressor(self, seed: int) -> Any:
        """An estimator of one value, not fitted; for heads whose traits say ``values``."""
        raise NotImplementedError

    def class_scores(self, fitted: Any, embeddings: np.ndarray) -> np.ndarray:
        """Logits ``(Q, N)`` of the classes in ``fitted.classes_``: floored log-probabilities."""
        return np.asarray(np.log(np.maximum(fitted.predict_proba(embeddings), LEAST_PROBABILITY)))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fit the estimators; the predictor holds one per task."""
        check_task_fits(self, target)
        embeddings = any_tensor(support.inputs).detach().cpu().double()
        scale = SupportScale.of(embeddings)
        images, labels = _array(scale.apply(embeddings)), _array(support.labels)
        fit = self._fit_classes if target.kind == "classes" else self._fit_values
        with _one_thread():
            answers = [
                fit(images[t], labels[t], target.size, task_seed(support.task_ids[t]))
                for t in range(support.n_tasks)
            ]

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs))
            asked = _array(scale.apply(queries.detach().cpu().double()))
            with _one_thread():
                found = [answer(q) for answer, q in zip(answers, asked, strict=True)]
            return torch.from_numpy(np.stack(found)).to(queries)

        return predict

    def _fit_classes(
        self, images: np.ndarray, labels: np.ndarray, n_way: int, seed: int
    ) -> Answers:
        present = np.unique(labels)
        fitted = None
        if len(present) > 1 and images.any():  # else there is nothing to tell them apart by
            fitted = _fitted(self.classifier(seed), images, labels)

        def answer(queries: np.ndarray) -> np.ndarray:
            scores = np.zeros((len(queries), len(present)))
            if fitted is not None:
                scores = self.class_scores(fitted, queries)
            lowest = scores.min(1, keepdims=True)  # a class without images is not above any other
            logits = np.repeat(np.minimum(lowest, np.log(LEAST_PROBABILITY)), n_way, axis=1)
            logits[:, present] = scores
            return logits

        return answer

    def _fit_values(self, images: np.ndarray, labels: np.ndarray, size: int, seed: int) -> Answers:
        values = on_grid(labels)
        fitted = [_fitted(self.regressor(seed), images, values[:, v]) for v in range(size)]
        return lambda queries: np.stack([f.predict(queries) for f in fitted], axis=1)


@cache
def _libraries() -> ThreadpoolController:
    """NumPy's and SciPy's, found once: looking for them takes longer than a small fit."""
    import scipy.linalg  # noqa: F401  (what is not loaded is not found)

    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[Any]:
    """Keep NumPy and SciPy to one thread: others would wait on matrices too small to share.

    (On a machine with other work that made a small network's fit seven times slower.)
    """
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited


def two_columns(decisions: np.ndarray) -> np.ndarray:
    """Decision values as logits ``(Q, N)``; of two classes scikit-learn gives the difference.

    >>> two_columns(np.array([2.0]))
    array([[-1.,  1.]])
    """
    return decisions if decisions.ndim == 2 else np.stack([-decisions, decisions], axis=1) / 2


def on_grid(values: np.ndarray) -> np.ndarray:
    """Standardised values to six digits, as multiples of a power of two.

    Among a few images many features split alike. With exact sums such splits are equally good to
    the last bit, so that the tree's own chance chooses, not the rounding of the values' unit.

    >>> float(on_grid(np.array(1 / 3)) * 2**20)
    349525.0
    """
    return np.asarray(np.round(values / GRID) * GRID)


def _fitted(estimator: Any, images: np.ndarray, wanted: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # A few images are fitted in the steps that there are; the answer is no worse for it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Features that do not vary, as with one image per class, say nothing and do no harm.
        warnings.filterwarnings("ignore", message=".*within_class_std_dev_")
        return estimator.fit(images, wanted)


def _array(numbers: Tensor) -> np.ndarray:
    tensor = numbers.detach().cpu()
    return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())


def task_seed(task_id: Tensor) -> int:
    """A seed below 2**32 from one entry of ``task_ids``.

    >>> task_seed(torch.tensor(5)) == task_seed(torch.tensor(6))
    False
    """
    sequence = np.random.SeedSequence(int(task_id) % 2**64)
    return int(sequence.generate_state(1)[0])

"""Meta Networks: weights for a task, and for each query, are made from gradients of the support."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits
from medmeta.learners._max_way import outputs_for
from medmeta.learners._mini_batches import mini_batches
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.optimiser._signals import log_and_sign

LOG_RANGE = 7.0  # gradients below e^-7 count as small
TINY = 1e-6  # as good as no squared length


class MetaNetworksConfig(HeadConfig):
    """Options of Meta Networks.

    ``hidden``: units of the layer that has fast weights, and size of the keys. ``meta_hidden``:
    units of the two networks that make fast weights. ``samples``: in how many parts, drawn at
    random, the support is shown to make the representation's fast weights (the paper's T).
    ``max_way`` is the size of the output layer: tasks of fewer classes use its first rows (None:
    the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=1)
    hidden: int = Field(64, ge=1, le=4096)
    meta_hidden: int = Field(20, ge=1, le=1000)
    samples: int = Field(5, ge=1, le=1000)
    max_way: int | None = Field(None, ge=2, le=1000)


class FromOneGradient(nn.Module):
    """A fast weight from the gradient of a slow one: m, shared by all coordinates.

    Munkhdalai and Yu 2017, equation 6: a perceptron with two hidden layers, as in their code.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.output = nn.Linear(hidden, 1)

    def forward(self, gradients: Tensor) -> Tensor:
        """Of any shape, to the same shape."""
        weights: Tensor = self.output(self.layers(log_and_sign(gradients, LOG_RANGE)))
        return weights[..., 0]


class FromGradients(nn.Module):
    """A fast weight from several gradients of a slow one: d, shared by all coordinates.

    Munkhdalai and Yu 2017, equation 3: an LSTM that reads them one after the other.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.reading = nn.LSTM(2, hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, gradients: Tensor) -> Tensor:
        """``(T, samples, H, D)`` to ``(T, H, D)``."""
        in_turn = log_and_sign(gradients.transpose(0, 1).flatten(1), LOG_RANGE)
        _, (last, _) = self.reading(in_turn)
        weights: Tensor = self.output(last[0])
        return weights.reshape(gradients[:, 0].shape)


class MetaNetworksHead(AbstractLearner):
    """A base learner with a slow and a fast part in each layer; the fast part is made per query.

    Takes embeddings ``(T, S, D)``. Munkhdalai and Yu 2017, algorithm 1: from gradients on samples
    of the support, d makes the fast weights with which keys are formed; from the gradient on each
    support image, m makes fast weights of the base learner, stored under the image's key; a query
    uses their mean, weighted by the likeness of keys. Gradients count as constants.
    """

    key_output: Tensor

    def __init__(self, config: MetaNetworksConfig, size: int, max_way: int) -> None:
        super().__init__()
        self.samples = config.samples
        self.key = nn.Linear(size, config.hidden, bias=False)
        self.hidden = nn.Linear(size, config.hidden, bias=False)
        self.output = nn.Linear(config.hidden, max_way, bias=False)
        # Only shapes gradients that count as constants, so it stays as drawn.
        self.register_buffer("key_output", torch.empty(max_way, config.hidden))
        nn.init.xavier_uniform_(self.key_output)
        self.of_key = FromGradients(config.meta_hidden)
        self.of_hidden = FromOneGradient(config.meta_hidden)
        self.traits = Traits(
            max_way=max_way,
            order_free=False,
            label_equivariant=False,
            differentiable=False,
            input_kinds=frozenset({"vector"}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fill the memory; the predictor holds fast weights of each support image, and keys."""
        check_task_fits(self, target)
        images = at_least_single(any_tensor(support.inputs))
        output = self.output.weight[: target.size]
        with torch.autocast(images.device.type, enabled=False):
            fast_key = self._fast_key(images, support, target.size)
            keys = F.linear(images, self.key.weight) + images @ fast_key.mT
            of_hidden, of_output = example_gradients(
                images, support.labels, self.hidden.weight, output
            )
            fast_hidden, fast_output = self.of_hidden(of_hidden), self.of_hidden(of_output)

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs))
            with torch.autocast(queries.device.type, enabled=False):
                asked = F.linear(queries, self.key.weight) + queries @ fast_key.mT
                attention = cosines(asked, keys).softmax(dim=-1)
                slow = F.linear(queries, self.hidden.weight).relu()
                active = slow + through_mean(attention, fast_hidden, queries).relu()
                return F.linear(active, output) + through_mean(attention, fast_output, active)

        return predict

    def _fast_key(self, images: Tensor, support: LabelledSet, n_way: int) -> Tensor:
        """Fast weights of the keys ``(T, H, D)``, from the mean gradient of each sample."""
        n_tasks, n_examples = support.labels.shape
        samples = mini_batches(support, self.samples, max(1, n_examples // self.samples))
        tasks = torch.arange(n_tasks, device=images.device)[:, None, None]
        of_logits, _, of_hidden = backpropagated(
            images, support.labels, self.key.weight, self.key_output[:n_way]
        )
        del of_logits
        shown, slopes = images.detach()[tasks, samples], of_hidden[tasks, samples]
        gradients = slopes.mT @ shown / samples.shape[2]
        fast: Tensor = self.of_key(gradients)
        return fast


def backpropagated(
    images: Tensor, labels: Tensor, hidden: Tensor, output: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image's cross-entropy ``(T, S)``: slopes at the logits and before the ReLU.

    Of the network ``output · relu(hidden · x)``, for images ``(T, S, D)``. In the middle stand
    the hidden activations. All count as constants.

    >>> x, eye = torch.tensor([[[2.0, -1.0]]]), torch.eye(2)
    >>> _, active, slopes = backpropagated(x, torch.tensor([[0]]), eye, torch.zeros(2, 2))
    >>> active, slopes
    (tensor([[[2., 0.]]]), tensor([[[0., 0.]]]))
    """
    with torch.no_grad():
        active = F.linear(images, hidden).relu()
        probabilities = F.linear(active, output).softmax(-1)
        of_logits = probabilities - F.one_hot(labels, len(output)).to(images.dtype)
        return of_logits, active, (of_logits @ output) * (active > 0)


def example_gradients(
    images: Tensor, labels: Tensor, hidden: Tensor, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of each image's cross-entropy in ``hidden`` and ``output``, as constants.

    ``(T, S, H, D)`` and ``(T, S, N, H)`` for images ``(T, S, D)``.
    """
    of_logits, active, of_hidden = backpropagated(images, labels, hidden, output)
    of_weights = of_hidden[..., None] * images.detach()[..., None, :]
    return of_weights, of_logits[..., None] * active[..., None, :]


def through_mean(attention: Tensor, weights: Tensor, inputs: Tensor) -> Tensor:
    """Inputs ``(T, Q, D)`` through the weighted mean of weights ``(T, S, H, D)``: ``(T, Q, H)``.

    Each query has its own ``attention`` ``(T, Q, S)``. The mean of what comes out is that of the
    mean, which need not be made for each query.
    """
    n_tasks, n_images, n_out, _ = weights.shape
    through = inputs @ weights.flatten(1, 2).mT
    through = through.reshape(n_tasks, -1, n_images, n_out)
    return (attention[..., None, :] @ through)[..., 0, :]


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    """Cosine similarities ``(T, Q, S)`` of ``(T, Q, D)`` with ``(T, S, D)``."""
    lengths = queries.square().sum(-1)[..., None] * keys.square().sum(-1)[:, None]
    return queries @ keys.mT * (lengths + TINY).rsqrt()


def _build_head(
    config: MetaNetworksConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    outputs = outputs_for("meta_networks", config.max_way, target)
    return MetaNetworksHead(config, embedding.channels, outputs)


SPEC = LearnerSpec.of_head(
    name="meta_networks",
    family="optimiser",
    summary="fast weights made from gradients of the support, chosen anew for each query",
    paper="Munkhdalai and Yu 2017, Meta Networks",
    config=MetaNetworksConfig,
    build_head=_build_head,
)

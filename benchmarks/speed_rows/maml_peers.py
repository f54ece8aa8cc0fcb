"""MAML and Meta-SGD by other libraries: the loop of each one's own example, on one network.

All average the query loss over the tasks, step with Adam, and read the loss, as ours does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import peers
from medmeta.episode import Episode
from speed_rows.ours import LEARNING_RATE


class PeerStep(ABC):
    """A training step: called with an episode, it changes the network's weights."""

    def __init__(
        self, network: nn.Sequential, rate: float, steps: int, *, first_order: bool
    ) -> None:
        self.network, self.rate, self.steps = network, rate, steps
        self.first_order = first_order
        self.start()
        self.optimiser = torch.optim.Adam(list(self.parameters()), lr=LEARNING_RATE)

    @abstractmethod
    def start(self) -> None:
        """Load the library, and make ready what it wraps around a network."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained, in the order of the network's layers."""
        return self.network.parameters()

    @abstractmethod
    def gradients(self, episode: Episode) -> float:
        """Fill in the gradients of the mean loss over the tasks; returns it."""

    def __call__(self, episode: Episode) -> float:
        """One step; returns the loss before it."""
        loss = self.gradients(episode)
        self.optimiser.step()
        return loss


def _tensors(episode: Episode, task: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    support, query = episode.support, episode.query
    assert isinstance(support.inputs, Tensor)
    assert isinstance(query.inputs, Tensor)
    return support.inputs[task], support.labels[task], query.inputs[task], query.labels[task]


class TaskByTask(PeerStep):
    """Each task has a backward pass of its own."""

    @abstractmethod
    def task(self, images: Tensor, labels: Tensor, queries: Tensor, answers: Tensor) -> float:
        """Add the gradient of one task's query loss; returns the loss."""

    def gradients(self, episode: Episode) -> float:
        """Add up the tasks' gradients and divide."""
        self.optimiser.zero_grad()
        total, n_tasks = 0.0, episode.support.n_tasks
        for one in range(n_tasks):
            total += self.task(*_tensors(episode, one))
        for parameter in self.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(1.0 / n_tasks)
        return total / n_tasks


class Learn2Learn(TaskByTask):
    """``examples/vision/maml_omniglot.py``, without its validation tasks."""

    def start(self) -> None:
        """Wrap."""
        self.maml = peers.load("learn2learn").algorithms.MAML(
            self.network, lr=self.rate, first_order=self.first_order
        )

    def task(self, images: Tensor, labels: Tensor, queries: Tensor, answers: Tensor) -> float:
        """Clone, adapt, backward."""
        learner = self.maml.clone()
        for _ in range(self.steps):
            learner.adapt(F.cross_entropy(learner(images), labels))
        error = F.cross_entropy(learner(queries), answers)
        error.backward()  # type: ignore[no-untyped-call]
        return float(error.item())


class Learn2LearnMetaSGD(Learn2Learn):
    """``examples/vision/metasgd_*``: the same loop; each weight has a rate, which is trained."""

    def start(self) -> None:
        """Wrap."""
        self.maml = peers.load("learn2learn").algorithms.MetaSGD(
            self.network, lr=self.rate, first_order=self.first_order
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's, then the rates."""
        parameters: Iterator[nn.Parameter] = chain(self.network.parameters(), self.maml.lrs)
        return parameters


class Higher(TaskByTask):
    """``examples/maml-omniglot.py``."""

    def start(self) -> None:
        """Nothing is kept between tasks."""
        self.library = peers.load("higher")

    def task(self, images: Tensor, labels: Tensor, queries: Tensor, answers: Tensor) -> float:
        """A functional copy within a context."""
        inner = torch.optim.SGD(self.network.parameters(), lr=self.rate)
        context = self.library.innerloop_ctx(self.network, inner, copy_initial_weights=False)
        with context as (copy, optimiser):
            for _ in range(self.steps):
                optimiser.step(F.cross_entropy(copy(images), labels))
            error = F.cross_entropy(copy(queries), answers)
            error.backward()  # type: ignore[no-untyped-call]
        return float(error.item())


class TorchOpt(PeerStep):
    """``examples/few-shot/maml_omniglot.py``: the loss is averaged before one backward pass."""

    def start(self) -> None:
        """The differentiable optimiser is made once."""
        self.library = peers.load("torchopt")
        self.inner = self.library.MetaSGD(self.network, lr=self.rate)

    def gradients(self, episode: Episode) -> float:
        """The states of network and optimiser are put back after each task."""
        self.optimiser.zero_grad()
        extract, recover = self.library.extract_state_dict, self.library.recover_state_dict
        network = extract(self.network, by="reference", detach_buffers=True)
        optimiser = extract(self.inner, by="reference")
        errors = []
        for one in range(episode.support.n_tasks):
            images, labels, queries, answers = _tensors(episode, one)
            for _ in range(self.steps):
                self.inner.step(F.cross_entropy(self.network(images), labels))
            errors.append(F.cross_entropy(self.network(queries), answers))
            recover(self.network, network)
            recover(self.inner, optimiser)
        mean = torch.stack(errors).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        return float(mean.item())


class TorchMeta(PeerStep):
    """``examples/maml/train.py``: layers of its own that take their weights from outside."""

    def start(self) -> None:
        """Write the network in the library's layers, with the same weights."""
        peers.load("torchmeta")
        inner = peers.part_of("torchmeta.utils.gradient_based")
        self.update = inner.gradient_update_parameters
        layers = peers.part_of("torchmeta.modules")
        device = next(self.network.parameters()).device
        self.model: Any = _in_layers_of(layers, self.network).to(device)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the rewritten network."""
        parameters: Iterator[nn.Parameter] = self.model.parameters()
        return parameters

    def gradients(self, episode: Episode) -> float:
        """The loss is summed over the tasks before one backward pass."""
        self.model.zero_grad()
        total = torch.zeros((), device=episode.support.labels.device)
        for one in range(episode.support.n_tasks):
            images, labels, queries, answers = _tensors(episode, one)
            weights = None
            for _ in range(self.steps):
                error = F.cross_entropy(self.model(images, params=weights), labels)
                weights = self.update(
                    self.model,
                    error,
                    params=weights,
                    step_size=self.rate,
                    first_order=self.first_order,
                )
            total = total + F.cross_entropy(self.model(queries, params=weights), answers)
        total = total / episode.support.n_tasks
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.item())


def _in_layers_of(modules: Any, network: nn.Sequential) -> Any:
    def same(layer: nn.Module) -> Any:
        if isinstance(layer, nn.Sequential):
            return modules.MetaSequential(*(same(inner) for inner in layer))
        if isinstance(layer, nn.Conv2d):
            stride, padding = layer.stride, layer.padding
            return modules.MetaConv2d(
                layer.in_channels, layer.out_channels, 3, stride=stride, padding=padding, bias=False
            )
        if isinstance(layer, nn.BatchNorm2d):
            return modules.MetaBatchNorm2d(layer.num_features, track_running_stats=False)
        if isinstance(layer, nn.Linear):
            return modules.MetaLinear(layer.in_features, layer.out_features)
        return layer

    rewritten = same(network)
    rewritten.load_state_dict(network.state_dict())
    return rewritten.train()


STEPS: dict[tuple[str, str], Callable[..., PeerStep]] = {
    ("maml", "learn2learn"): Learn2Learn,
    ("meta_sgd", "learn2learn"): Learn2LearnMetaSGD,
    ("maml", "higher"): Higher,
    ("maml", "torchopt"): TorchOpt,
    ("maml", "torchmeta"): TorchMeta,
}

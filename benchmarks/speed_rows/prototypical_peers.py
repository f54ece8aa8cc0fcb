"""Prototypical training by other libraries, reading a folder of PNG files as their users do.

Pictures have the network's size already, so no side resizes. The loops are those of learn2learn's
``examples/vision/protonet_miniimagenet.py`` and of easyfsl's notebook on episodic training.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import peers
from speed_rows.networks import headed_learner, plain_encoder
from speed_rows.ours import LEARNING_RATE
from speed_rows.pictures import seeded_episode
from speed_rows.row import Job, Setting, rate

if TYPE_CHECKING:
    from speed_rows.prototypical import Recipe

MANY = 10**7
WORKERS = (0, 2)


def peer_encoder(recipe: Recipe, setting: Setting) -> nn.Module:
    """The network of our side with its weights: plain layers, or ours where it is plain enough."""
    learner = headed_learner(
        "prototypical",
        setting.seed,
        recipe.channels,
        recipe.size,
        way=recipe.way,
        encoder=recipe.encoder,
    )
    if recipe.encoder == "conv4":
        return plain_encoder(learner, recipe.channels).to(setting.device)
    encoder: nn.Module = copy.deepcopy(learner.get_submodule("encoder")).train()
    return encoder.to(setting.device)


def to_float(grey: bool) -> Callable[[Any], Tensor]:
    """The way of torchvision from a picture to a tensor, and the range that our side works in."""
    transforms = peers.part_of("torchvision.transforms")
    channels = 1 if grey else 3
    steps = [
        *([transforms.Grayscale()] if grey else []),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * channels, [0.25] * channels),
    ]
    composed: Callable[[Any], Tensor] = transforms.Compose(steps)
    return composed


def learn2learn_job(recipe: Recipe, setting: Setting) -> Job:
    """``ImageFolder``, all of it in memory (``OnDeviceDataset``), and fused task transforms."""
    l2l = peers.load("learn2learn")
    transforms = l2l.data.transforms
    start = time.perf_counter()
    pictures, to_tensor = str(recipe.pictures(setting)), to_float(recipe.channels == 1)
    folder = peers.part_of("torchvision.datasets").ImageFolder(pictures, to_tensor)
    held = l2l.data.OnDeviceDataset(folder, device=setting.device)
    numbers = dict(enumerate(int(label) for _, label in folder.samples))
    dataset = l2l.data.MetaDataset(held, indices_to_labels=numbers)
    decoding = time.perf_counter() - start
    per_class = recipe.shot + recipe.n_query
    changes = [
        transforms.FusedNWaysKShots(dataset, n=recipe.way, k=per_class),
        transforms.LoadData(dataset),
        transforms.RemapLabels(dataset),
    ]
    tasks = l2l.data.Taskset(dataset, task_transforms=changes)
    encoder = peer_encoder(recipe, setting)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=LEARNING_RATE)

    def work() -> int:
        images, labels = tasks.sample()
        loss = _learn2learn_loss(encoder, images, labels, recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()
        return 1

    def check() -> list[float]:
        images, labels = _one_task(recipe, setting)
        loss = _learn2learn_loss(encoder, images.to(setting.device), labels, recipe)
        return [float(loss)]

    return Job(
        rate(work), check=check, beside=lambda: {"peer_decode_once_seconds": round(decoding, 3)}
    )


def _learn2learn_loss(encoder: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """``fast_adapt`` of the example."""
    way, shot, n_query = recipe.way, recipe.shot, recipe.n_query
    order = torch.sort(labels, stable=True)  # so that a check knows which are the support
    data = images[order.indices]
    labels = labels[order.indices]
    embeddings = encoder(data)
    mask = np.zeros(data.size(0), dtype=bool)
    first = np.arange(way) * (shot + n_query)
    for offset in range(shot):
        mask[first + offset] = True
    is_query, is_support = torch.from_numpy(~mask), torch.from_numpy(mask)
    support = embeddings[is_support].reshape(way, shot, -1).mean(dim=1)
    query, answers = embeddings[is_query], labels[is_query].long()
    a, b = query.unsqueeze(1), support.unsqueeze(0)
    logits = -((a.expand(-1, way, -1) - b.expand(len(query), -1, -1)) ** 2).sum(dim=2)
    return F.cross_entropy(logits, answers.to(logits.device))


def _one_task(recipe: Recipe, setting: Setting) -> tuple[Tensor, Tensor]:
    shape = (recipe.channels, recipe.size, recipe.size)
    drawn = seeded_episode(setting.seed, 1, recipe.way, recipe.shot, recipe.n_query, shape)
    parts = [(part.inputs[0], part.labels[0]) for part in (drawn.support, drawn.query)]  # type: ignore[index]
    images = torch.cat([images for images, _ in parts])
    labels = torch.cat([labels for _, labels in parts])
    order = torch.sort(labels, stable=True).indices  # support before query within each class
    return images[order], labels[order]


def easyfsl_job(recipe: Recipe, setting: Setting) -> Job:
    """``EasySet``, ``TaskSampler`` and a ``DataLoader`` with the number of workers that is best."""
    peers.load("easyfsl")
    folders = sorted(recipe.pictures(setting).iterdir())
    specs = {"class_names": [f.name for f in folders], "class_roots": [str(f) for f in folders]}
    file = recipe.pictures(setting).parent / "easyset.json"
    file.write_text(json.dumps(specs))
    to_tensor = to_float(recipe.channels == 1)
    dataset = peers.part_of("easyfsl.datasets").EasySet(file, recipe.size, transform=to_tensor)
    methods = peers.part_of("easyfsl.methods")
    model = methods.PrototypicalNetworks(peer_encoder(recipe, setting)).to(setting.device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(tasks: Iterator[Any]) -> int:
        images, labels, queries, answers, _ = next(tasks)
        optimiser.zero_grad()
        model.process_support_set(images.to(setting.device), labels.to(setting.device))
        loss = F.cross_entropy(model(queries.to(setting.device)), answers.to(setting.device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()
        return 1

    loaders = {n: iter(_easyfsl_loader(dataset, recipe, n)) for n in WORKERS}
    tried = {n: _tried(step, tasks, setting) for n, tasks in loaders.items()}
    best = max(tried, key=lambda n: tried[n])
    chosen = loaders.pop(best)
    loaders.clear()  # ends the workers that were only tried
    return Job(rate(lambda: step(chosen)), beside=lambda: {"peer_loader_workers": best})


def _tried(step: Callable[[Iterator[Any]], int], tasks: Iterator[Any], setting: Setting) -> float:
    """Steps per second, after one that starts the workers."""
    step(tasks)
    return rate(lambda: step(tasks))(0.0 if setting.quick else 3.0)


def _easyfsl_loader(dataset: Any, recipe: Recipe, workers: int) -> DataLoader[Any]:
    sampler = peers.part_of("easyfsl.samplers").TaskSampler(
        dataset, recipe.way, recipe.shot, recipe.n_query, n_tasks=MANY
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=sampler.episodic_collate_fn,
    )

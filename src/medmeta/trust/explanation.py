"""Where in an image an answer comes from: occlusion and integrated gradients, for any predictor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episode import any_tensor
from medmeta.errors import DataError, MissingExtraError, SettingsError, UnsupportedTaskError
from medmeta.evaluation.cores import side_by_side
from medmeta.learner import AdaptedTask, name_of

BATCH = 32
STEPS = 32
WINDOWS_ACROSS = 4  # a window is a fourth of the image's side, and is moved by 3/4 of its own


Place = tuple[slice, ...]


@dataclass(frozen=True)
class Windows:
    """What occlusion covers at once, and by how much it is moved: pixels along each axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, space: tuple[int, ...]) -> Windows:
        """A fourth of each side, moved by three fourths of that: 25 places in a square.

        (By half of it there are 49 places, at twice the cost.)

        >>> Windows.of((64, 64))
        Windows(size=(16, 16), stride=(12, 12))
        """
        size = tuple(max(1, math.ceil(side / WINDOWS_ACROSS)) for side in space)
        stride = tuple(max(1, 3 * side // 4) for side in size)
        return cls(size, stride)

    def places(self, space: tuple[int, ...]) -> list[Place]:
        """Where they lie: from the first corner until nothing is left, the last ones cut off.

        >>> [place[0] for place in Windows((4,), (3,)).places((8,))]
        [slice(0, 4, None), slice(3, 7, None), slice(6, 8, None)]
        """
        axes = [
            [slice(first, min(first + size, side)) for first in range(0, most, stride)]
            for size, stride, side in zip(self.size, self.stride, space, strict=True)
            for most in [max(1, side - size + stride)]
        ]
        return list(product(*axes))


def occlusion_maps(
    task: AdaptedTask,
    images: Tensor,
    *,
    classes: Tensor | None = None,
    windows: Windows | None = None,
    batch: int = BATCH,
) -> NDArray[np.float32]:
    """How much less an answer is believed where the image is covered, ``(Q, *space)``.

    ``images`` ``(Q, C, *space)`` as the learner takes them; ``classes`` ``(Q,)`` is what is
    explained, by default each image's answer. Above zero: what lies there speaks for the class, in
    units of its log-odds (of the value, where there is one). Windows are covered by the support's
    mean colour (Zeiler and Fergus 2014); a pixel's figure is the mean over the windows it is in.
    An image without a valid answer has a map of NaN. Raises ``UnsupportedTaskError`` for inputs
    that are no single image.
    """
    space = tuple(images.shape[2:])
    windows = windows or Windows.of(space)
    _check(task, images, windows, batch)
    cover, places = neutral_images(task, images[:1]), windows.places(space)
    known = answers_of(task, images, batch=batch) if classes is None else classes
    size = max(1, batch // 8)
    each = max(1, batch // size)
    asked = [None, *places]  # the whole image first
    groups = [asked[first : first + each] for first in range(0, len(asked), each)]
    maps = []
    for first in range(0, len(images), size):
        part, own = images[first : first + size], known[first : first + size]
        pieces = [partial(_covered, part, group, cover) for group in groups]
        told = torch.cat(list(answers_in_pieces(task, pieces)))
        odds = log_odds(told, own.repeat(len(asked))).reshape(-1, len(part))
        maps.append(_spread(odds.float().cpu().numpy(), places, space))
    return _joined(maps, images)


def _covered(images: Tensor, places: Sequence[Place | None], cover: Tensor) -> Tensor:
    """Copies of images ``(q, C, *space)`` with one place covered, all of a place together."""
    copies = images[None].repeat(len(places), *[1] * images.ndim)
    for place, copy in zip(places, copies, strict=True):
        if place is not None:
            inside = (slice(None), slice(None), *place)
            copy[inside] = cover[inside]
    return copies.flatten(0, 1)


def _spread(
    odds: NDArray[np.float32], places: Sequence[Place], space: tuple[int, ...]
) -> NDArray[np.float32]:
    """Maps ``(q, *space)`` by log-odds ``(1 + places, q)``, the first of the whole images."""
    total = np.zeros((odds.shape[1], *space), dtype=np.float32)
    times = np.zeros(space, dtype=np.float32)
    for place, covered in zip(places, odds[1:], strict=True):
        total[(slice(None), *place)] += (odds[0] - covered).reshape(-1, *[1] * len(space))
        times[place] += 1
    return np.asarray(total / times, dtype=np.float32)


def gradient_maps(
    task: AdaptedTask,
    images: Tensor,
    *,
    classes: Tensor | None = None,
    steps: int = STEPS,
    batch: int = BATCH,
) -> NDArray[np.float32]:
    """Integrated gradients from the support's mean colour to the image, ``(Q, *space)``.

    Summed over channels; a map's sum is the difference of the two log-odds (Sundararajan, Taly and
    Yan 2017, proposition 1). Arguments and units are those of ``occlusion_maps``. Raises
    ``UnsupportedTaskError`` also where an answer has no gradient: of trees and other estimators.
    """
    _check(task, images, Windows.of(tuple(images.shape[2:])), batch)
    if steps < 1:
        raise SettingsError(f"{steps} steps of integrated gradients: it takes at least one.")
    score = _score_of(task)
    _check_gradient(task, score, images)
    integrated = _captum().IntegratedGradients(score)
    cover = neutral_images(task, images[:1])
    classes = answers_of(task, images, batch=batch) if classes is None else classes
    maps = []
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        found = integrated.attribute(
            part,
            baselines=cover.expand_as(part),
            additional_forward_args=(classes[first : first + len(part)],),
            n_steps=steps,
            internal_batch_size=max(batch, len(part)),
        )
        maps.append(found.sum(1).float().detach().cpu().numpy())
    return _joined(maps, images)


def raw_answers(task: AdaptedTask, images: Tensor, *, batch: int = BATCH) -> Tensor:
    """Logits or values ``(Q, size)`` of images ``(Q, C, *space)``, each asked about by itself.

    A transductive predictor lets the images of a batch tell about each other, so it is given one
    at a time: a covered image must not speak about the others.
    """
    if not len(images):
        return torch.zeros(0, task.target.size)
    size = 1 if task.learner.traits.transductive else batch
    parts = [images[first : first + size] for first in range(0, len(images), size)]
    return torch.cat([task.predictor(part[None])[0] for part in parts])


def answers_in_pieces(
    task: AdaptedTask, pieces: Iterable[Callable[[], Tensor]]
) -> Iterator[Tensor]:
    """The same of the images ``(q, C, *space)`` that each piece makes, cores side by side."""
    device = any_tensor(task.support.inputs).device

    def asked(piece: Callable[[], Tensor]) -> Tensor:
        with torch.no_grad():
            return raw_answers(task, piece())

    # An inner loop swaps its module's weights in place, which two threads must not do at once.
    apart = task.head_predictor is not None
    return side_by_side(asked, pieces, device=device) if apart else map(asked, pieces)


def answers_of(task: AdaptedTask, images: Tensor, *, batch: int = BATCH) -> Tensor:
    """The class that each image is answered with, ``(Q,)``; 0 where there is one value."""
    with torch.no_grad():
        return raw_answers(task, images, batch=batch).nan_to_num(-torch.inf).argmax(1)


def log_odds(raw: Tensor, classes: Tensor) -> Tensor:
    """Log-odds ``(N,)`` of a class ``(N,)`` by logits ``(N, K)``; a single value as it is.

    What is added to all logits of an image does not change it, and it does not level off where a
    probability is near 1.

    >>> round(float(log_odds(torch.tensor([[2.0, 0.5]]), torch.tensor([0]))), 6)
    1.5
    """
    if raw.shape[1] == 1:
        return raw[:, 0]
    own = raw.gather(1, classes[:, None])[:, 0]
    others = torch.nn.functional.one_hot(classes, raw.shape[1]).bool()
    return own - raw.masked_fill(others, -torch.inf).logsumexp(1)


def neutral_images(task: AdaptedTask, like: Tensor) -> Tensor:
    """Images ``(Q, C, *space)`` of the support's mean colour: what there is nothing to see in."""
    support = any_tensor(task.support.inputs)[0]
    axes = (0, *range(2, support.ndim))
    colour = support.float().mean(axes).reshape(1, -1, *[1] * (like.ndim - 2))
    return colour.to(like.dtype).expand_as(like).contiguous()


def _score_of(task: AdaptedTask) -> Callable[[Tensor, Tensor], Tensor]:
    def score(images: Tensor, classes: Tensor) -> Tensor:
        return log_odds(raw_answers(task, images, batch=len(images)), classes)

    return score


def _check(task: AdaptedTask, images: Tensor, windows: Windows, batch: int) -> None:
    name = name_of(task.learner)
    if task.target.kind == "masks" or not isinstance(task.support.inputs, Tensor):
        raise UnsupportedTaskError(
            f"{name} answers {task.target.kind} from "
            f"{'one input' if isinstance(task.support.inputs, Tensor) else 'several inputs'}; "
            "maps explain classes and values of single images."
        )
    if task.support.n_tasks != 1:
        raise UnsupportedTaskError(
            f"{task.support.n_tasks} tasks were given to explain; give one at a time."
        )
    shape = tuple(task.support.inputs.shape[2:])
    if images.ndim < 3 or tuple(images.shape[1:]) != shape:
        raise DataError(
            f"images to explain have shape {tuple(images.shape)}; (Q, *{shape}) fits the support."
        )
    fits = len(windows.size) == len(shape) - 1 and batch >= 1
    if not fits or any(s > w for s, w in zip(windows.stride, windows.size, strict=True)):
        raise SettingsError(
            f"windows of {windows.size}, moved by {windows.stride}, do not fit images of "
            f"{shape[1:]}, or leave gaps."
        )


def _check_gradient(
    task: AdaptedTask, score: Callable[[Tensor, Tensor], Tensor], images: Tensor
) -> None:
    asked = images[:1].detach().clone().requires_grad_()
    with torch.enable_grad():
        found = score(asked, torch.zeros(len(asked), dtype=torch.long, device=images.device))
    if len(asked) and not found.requires_grad:
        raise UnsupportedTaskError(
            f"the answers of {name_of(task.learner)} have no gradient with respect to the image; "
            "explain them by occlusion."
        )


def _joined(maps: list[NDArray[np.float32]], images: Tensor) -> NDArray[np.float32]:
    if not maps:
        return np.zeros((0, *images.shape[2:]), dtype=np.float32)
    joined = np.concatenate(maps)
    broken = ~np.isfinite(joined).reshape(len(joined), -1).all(1)
    joined[broken] = np.nan  # part of a map would look like a whole one
    return joined


def _captum() -> Any:
    """Captum's integrated gradients; they come with an extra, and are imported here alone."""
    try:
        import captum.attr
    except ImportError:
        raise MissingExtraError("captum", "explain", "explaining answers") from None
    return captum.attr

"""Pictures without end: thousands of classes, each a small random program that draws its pictures.

A class is a number. Eight classes of one family share a program but for one to three of its parts
(how lobed its objects are, what their texture is, how many nuclei they have, ...), so what tells
them apart is as small as what tells one finding from another. Programs draw grounds of filtered
noise with bands, and objects on them with an outline, a texture, a rim and nuclei of their own:
cells, lesions, layers, organs, and things that are none of these. Outlines by Fourier series are
as of Zahn and Roskies 1972; noise of a stated spectrum as of Baradad et al. 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

FAMILY = 8
MOST_OBJECTS = 10
HARMONICS = 8


@dataclass(frozen=True)
class Programs:
    """Parts of programs, one row per class; each a float32 tensor ``(n, ...)``."""

    ground_colour: Tensor  # (n, 3)
    second_colour: Tensor  # (n, 3)
    ground_spectrum: Tensor  # exponent of the noise, 0 white to 3 smooth
    ground_stretch: Tensor  # (n, 2): how much longer than wide the grain is, and its direction
    ground_contrast: Tensor
    ground_steps: Tensor  # 0 smooth grounds, 1 of two materials with a clear border
    bands: Tensor  # (n, 3): how many, how strong, how wavy
    objects: Tensor  # how many, in the mean
    radius: Tensor  # of the picture's half width
    radius_spread: Tensor
    place: Tensor  # how far from the middle objects lie
    stretch: Tensor  # longer than wide
    lobes: Tensor  # (n, 2): how many, how deep
    roughness: Tensor  # (n, 2): of the outline, and how much of it in high harmonics
    softness: Tensor  # of the edge
    object_colour: Tensor  # (n, 3)
    object_opacity: Tensor
    object_spectrum: Tensor
    object_contrast: Tensor
    rim: Tensor  # (n, 2): how strong (dark or bright), how wide
    nuclei: Tensor  # (n, 3): how many, how large, how far apart
    nucleus_colour: Tensor  # (n, 3)
    shadow: Tensor  # below objects, as in ultrasound

    def of(self, classes: Tensor) -> Programs:
        """The rows of these classes."""
        return Programs(**{f.name: getattr(self, f.name)[classes] for f in fields(self)})


def programs(n_families: int, *, seed: int = 0) -> Programs:
    """Programs of ``n_families`` × 8 classes; a family's do not depend on how many there are."""
    rows: list[dict[str, np.ndarray]] = []
    for family in range(n_families):
        rng = np.random.default_rng((seed, family))
        shared = _drawn(rng)
        parts = _changeable(shared)
        for _ in range(FAMILY):
            own = dict(shared)
            other = _drawn(rng, grey=bool(shared["grey"][0]))
            for part in rng.choice(len(parts), size=rng.integers(1, 4), replace=False):
                own[parts[part]] = other[parts[part]]
            rows.append(own)
    names = [f.name for f in fields(Programs)]
    stacked = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in names}
    return Programs(**{n: torch.from_numpy(v.squeeze(1) if v.shape[1] == 1 else v)
                       for n, v in stacked.items()})  # fmt: skip


def _changeable(shared: dict[str, np.ndarray]) -> list[str]:
    """Parts by which classes of a family may differ: such as can be seen in its pictures."""
    ground = ["ground_spectrum", "ground_stretch", "ground_contrast", "ground_steps", "bands"]
    ground += ["ground_colour", "second_colour"]
    objects = ["objects", "radius", "radius_spread", "stretch", "lobes", "roughness", "softness"]
    objects += ["object_colour", "object_spectrum", "object_contrast", "rim", "nuclei", "shadow"]
    return objects * 2 + ground if shared["objects"][0] > 0 else ground


def _drawn(rng: np.random.Generator, grey: bool | None = None) -> dict[str, np.ndarray]:
    """A random program."""
    grey = bool(rng.random() < 0.5) if grey is None else grey
    some = rng.choice([0, 1, 1, 1, 2, 4, 7, 10])
    largest = 0.75 if some == 1 else 0.6 / math.sqrt(max(some, 1))

    def colour() -> np.ndarray:
        drawn = rng.uniform(0.02, 0.98, size=3)
        return np.repeat(drawn[:1], 3) if grey else drawn

    def maybe(chance: float, *drawn: float) -> np.ndarray:
        return np.array(drawn) * (rng.random() < chance)

    return {
        "grey": np.array([grey]),
        "ground_colour": colour(),
        "second_colour": colour(),
        "ground_spectrum": rng.uniform(0.3, 3.0, 1),
        "ground_stretch": np.array([rng.choice([1, 1, 2, 4]), rng.uniform(0, math.pi)]),
        "ground_contrast": rng.uniform(0.05, 1.0, 1) ** 2,
        "ground_steps": maybe(0.25, 1.0),
        "bands": maybe(0.3, 1.0, 1.0, 1.0)
        * np.array([rng.uniform(1, 7), rng.uniform(0.2, 0.9), rng.uniform(0, 0.5)]),
        "objects": np.array([some]),
        "radius": rng.uniform(0.35, 1.0, 1) * largest,
        "radius_spread": rng.uniform(0.0, 0.5, 1),
        "place": rng.choice([0.1, 0.4, 0.8, 0.9], 1),
        "stretch": rng.choice([1.0, 1.0, 1.3, 1.8, 3.0], 1),
        "lobes": maybe(0.5, 1.0, 1.0) * np.array([rng.integers(2, 8), rng.uniform(0.1, 0.5)]),
        "roughness": np.array([rng.choice([0.0, 0.05, 0.15, 0.35]), rng.uniform(0.2, 1.5)]),
        "softness": rng.choice([0.02, 0.05, 0.15, 0.4], 1),
        "object_colour": colour(),
        "object_opacity": rng.choice([0.4, 0.7, 0.95], 1),
        "object_spectrum": rng.uniform(0.3, 3.0, 1),
        "object_contrast": rng.choice([0.0, 0.15, 0.4, 0.8], 1),
        "rim": maybe(0.4, 1.0, 1.0) * np.array([rng.choice([-0.8, 0.8]), rng.uniform(0.05, 0.3)]),
        "nuclei": maybe(0.45, 1.0, 1.0, 1.0)
        * np.array([rng.integers(1, 5), rng.uniform(0.2, 0.6), rng.uniform(0.0, 0.5)]),
        "nucleus_colour": colour(),
        "shadow": maybe(0.15, rng.uniform(-0.7, 0.7)),
    }


def draw(one: Programs, *, size: int, chance: torch.Generator) -> Tensor:
    """A picture of each program's class, float32 ``(n, 3, size, size)`` in 0 to 1."""
    n = len(one.radius)
    y, x = _places(n, size, chance)
    picture = _ground(one, y, x, size, chance)
    shown = _shown(one, chance)
    inside = _noise(one.object_spectrum, None, size, chance)
    filled = one.object_colour[:, :, None, None] + (
        one.object_contrast[:, None, None, None] * 0.5 * inside[:, None]
    )
    for number in range(MOST_OBJECTS):
        seen = torch.nonzero(shown > number).flatten()
        if len(seen) == 0:
            break
        picture[seen] = _with_object(one.of(seen), picture[seen], filled[seen], y[seen], x[seen],
                                     chance)  # fmt: skip
    return picture.clamp(0, 1)


def _shown(one: Programs, chance: torch.Generator) -> Tensor:
    """How many objects each picture has: all of the class, give or take a third."""
    spread = 1 + (torch.rand(len(one.objects), generator=chance) - 0.5) * 0.66
    return torch.where(one.objects > 1.5, (one.objects * spread).round(), one.objects)


def _places(n: int, size: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where each pixel is, -1 to 1, turned and bent a little: ``(n, size, size)`` each."""
    line = torch.linspace(-1, 1, size)
    y, x = (a.expand(n, size, size) for a in torch.meshgrid(line, line, indexing="ij"))
    wave = torch.rand(n, 4, 1, 1, generator=chance)
    bent_y = y + 0.06 * torch.sin(math.pi * (x + 2 * wave[:, 0])) * wave[:, 2]
    bent_x = x + 0.06 * torch.sin(math.pi * (y + 2 * wave[:, 1])) * wave[:, 3]
    return bent_y, bent_x


def _noise(spectrum: Tensor, stretch: Tensor | None, size: int, chance: torch.Generator) -> Tensor:
    """Noise whose amplitude falls with frequency to this exponent, about -2 to 2."""
    n = len(spectrum)
    fy = torch.fft.fftfreq(size)[:, None] * size
    fx = torch.fft.rfftfreq(size)[None] * size
    if stretch is None:
        far = (fy**2 + fx**2).expand(n, size, size // 2 + 1)
    else:
        cos, sin = torch.cos(stretch[:, 1]), torch.sin(stretch[:, 1])
        along = fx * cos[:, None, None] + fy * sin[:, None, None]
        across = -fx * sin[:, None, None] + fy * cos[:, None, None]
        far = (along * stretch[:, 0, None, None]) ** 2 + across**2
    strength = (far + 1).pow(-spectrum[:, None, None] / 2)
    white = torch.fft.rfft2(torch.randn(n, size, size, generator=chance))
    made: Tensor = torch.fft.irfft2(white * strength, s=(size, size))
    made /= made.flatten(1).std(1).clamp(min=1e-6)[:, None, None]
    return made


def _ground(one: Programs, y: Tensor, x: Tensor, size: int, chance: torch.Generator) -> Tensor:
    noise = _noise(one.ground_spectrum, one.ground_stretch, size, chance)
    sharp = torch.tanh(8 * noise)
    noise = torch.where(one.ground_steps[:, None, None] > 0, sharp, noise)
    turn = torch.rand(len(noise), 1, 1, generator=chance)
    wavy = y + one.bands[:, 2, None, None] * torch.sin(2 * math.pi * (0.5 * x + turn))
    bands = torch.sin(math.pi * one.bands[:, 0, None, None] * (wavy + turn))
    mixed = 0.5 + 0.5 * one.ground_contrast[:, None, None] * noise
    mixed = (mixed + 0.5 * one.bands[:, 1, None, None] * bands).clamp(0, 1)[:, None]
    first, second = one.ground_colour[:, :, None, None], one.second_colour[:, :, None, None]
    return first * (1 - mixed) + second * mixed


def _with_object(
    one: Programs, picture: Tensor, filled: Tensor, y: Tensor, x: Tensor, chance: torch.Generator
) -> Tensor:
    """One more object on every picture."""
    n = len(picture)
    drawn = torch.rand(n, 6, generator=chance)
    middle = (drawn[:, :2] * 2 - 1) * one.place[:, None]
    radius = one.radius * (1 + (drawn[:, 2] * 2 - 1) * one.radius_spread)
    turn = drawn[:, 3] * 2 * math.pi
    along, across = _turned(y, x, middle, turn)
    along = along / (radius * one.stretch.sqrt())[:, None, None]
    across = across / (radius / one.stretch.sqrt())[:, None, None]
    far, angle = torch.hypot(along, across), torch.atan2(across, along)
    within = (_outline(one, angle, chance) - far) / one.softness[:, None, None]
    covers = torch.sigmoid(4 * within)[:, None] * one.object_opacity[:, None, None, None]
    near_edge = torch.exp(-((within * one.softness[:, None, None]
                             / one.rim[:, 1, None, None].clamp(min=0.02)) ** 2))  # fmt: skip
    colour = filled + (one.rim[:, 0, None, None] * 0.5 * near_edge)[:, None]
    colour = _with_nuclei(one, colour, along, across, chance)
    below = torch.sigmoid(20 * (y - middle[:, 0, None, None])) * torch.sigmoid(
        20 * (radius[:, None, None] - (x - middle[:, 1, None, None]).abs())
    )
    picture = picture * (1 + one.shadow[:, None, None] * below)[:, None]
    return picture * (1 - covers) + colour * covers


def _turned(y: Tensor, x: Tensor, middle: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    down, right = y - middle[:, 0, None, None], x - middle[:, 1, None, None]
    cos, sin = torch.cos(turn)[:, None, None], torch.sin(turn)[:, None, None]
    return right * cos + down * sin, down * cos - right * sin


def _outline(one: Programs, angle: Tensor, chance: torch.Generator) -> Tensor:
    """The distance of the outline from the middle, about 1, at each pixel's angle."""
    n = len(angle)
    outline = 1 + one.lobes[:, 1, None, None] * torch.cos(one.lobes[:, 0, None, None] * angle)
    if bool((one.roughness[:, 0] > 0).any()):
        numbers = torch.arange(2, 2 + HARMONICS).float()
        size = one.roughness[:, :1] * numbers ** (-one.roughness[:, 1:])
        phase = torch.rand(n, HARMONICS, generator=chance) * 2 * math.pi
        for k in range(HARMONICS):
            wave = torch.cos(numbers[k] * angle + phase[:, k, None, None])
            outline = outline + size[:, k, None, None] * wave
    return outline


def _with_nuclei(
    one: Programs, colour: Tensor, along: Tensor, across: Tensor, chance: torch.Generator
) -> Tensor:
    turn = torch.rand(len(colour), generator=chance) * 2 * math.pi
    for number in range(int(one.nuclei[:, 0].max())):
        angle = turn + 2 * math.pi * number / one.nuclei[:, 0].clamp(min=1)
        apart = torch.where(one.nuclei[:, 0] > 1, one.nuclei[:, 2], one.nuclei[:, 2] * 0.3)
        far = torch.hypot(
            along - (apart * torch.cos(angle))[:, None, None],
            across - (apart * torch.sin(angle))[:, None, None],
        )
        size = one.nuclei[:, 1] / one.nuclei[:, 0].clamp(min=1).sqrt()
        covers = torch.sigmoid(25 * (size[:, None, None] - far))
        covers = (covers * (one.nuclei[:, 0] > number)[:, None, None])[:, None]
        colour = colour * (1 - covers) + one.nucleus_colour[:, :, None, None] * covers
    return colour

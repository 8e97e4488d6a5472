"""Where the parts of a house are: a list of shapes, each with the name of its look."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator as Dice
from numpy.typing import NDArray

Array = NDArray[Any]
Box = tuple[float, float, float, float]


class Part(NamedTuple):
    """One shape: left, top, right, bottom as shares of the canvas, painted over what came before."""

    look: str
    box: Box
    arch: float = 0.0  # height of a round head, as a share of the part's height
    taper: float = 0.0  # share of the width that is lost on the way up: 1 is a gable


def _about(look: str, centre: float, half: float, top: float, bottom: float, **shape: float) -> Part:
    return Part(look, (centre - half, top, centre + half, bottom), **shape)


def draw_plan(dice: Dice) -> list[Part]:
    """Draw one house in its street."""
    ornate = dice.random()
    street = dice.uniform(0.9, 0.95)
    left, right = (0.0, 1.0) if dice.random() < 0.4 else (dice.uniform(0.06, 0.18), dice.uniform(0.82, 0.94))
    kind = str(dice.choice(["cropped", "flat", "balustrade", "mansard", "gable"], p=[0.2, 0.3, 0.12, 0.26, 0.12]))
    top = {"cropped": 0.0, "mansard": 0.23, "gable": 0.22}.get(kind, 0.14) * dice.uniform(0.85, 1.15)
    storeys = int(dice.choice([2, 3, 4, 5, 6], p=[0.1, 0.27, 0.33, 0.2, 0.1]))
    height = (street - top) / (storeys + 0.25)
    ground = street - 1.2 * height
    bays = int(np.clip(round((right - left) / height / dice.uniform(0.6, 1.0)), 2, 9))
    edges = np.linspace(left + 0.015, right - 0.015, bays + 1)

    parts = [Part("sky", (0, 0, 1, 1))]
    if dice.random() < 0.6:
        parts += [*_neighbour(dice, 0.0, left, street), *_neighbour(dice, right, 1.0, street)]
    parts += _roof(dice, kind, (left, top, right, street), ornate, bays)
    parts += [Part("street", (0, street, 1, 1))]
    if dice.random() < 0.5:
        parts.append(Part("ground", (left, ground, right, street)))
    if dice.random() < 0.6 * ornate:
        half = dice.uniform(0.009, 0.017)
        between = edges if dice.random() < 0.6 else edges[[0, -1]]
        parts += [_about("pillar", x, half, top + 0.03, ground) for x in between]
    parts += _upper_storeys(dice, edges, np.linspace(top + 0.02, ground, storeys), ornate)
    if dice.random() < 0.3 + 0.6 * ornate:
        parts.append(Part("molding", (left - 0.006, ground, right + 0.006, ground + dice.uniform(0.015, 0.03))))
    parts += _ground_storey(dice, edges, ground + 0.02, street, ornate)
    return parts


def _neighbour(dice: Dice, left: float, right: float, street: float) -> Iterator[Part]:
    top = dice.uniform(0.05, 0.45)
    yield Part("neighbour", (left, top, right, street))
    for y in np.arange(top + 0.06, street - 0.12, 0.17):
        for x in np.arange(left + 0.055, right - 0.035, 0.1):
            yield _about("window", x, 0.024, y, y + 0.09)


def _roof(dice: Dice, kind: str, wall: Box, ornate: float, bays: int) -> Iterator[Part]:
    left, top, right, _ = wall
    middle, width = (left + right) / 2, (right - left) / bays
    ridge = top - dice.uniform(0.1, 0.15) * (kind == "mansard")
    if kind in {"flat", "mansard"}:
        for x in dice.uniform(left + 0.06, right - 0.06, size=dice.integers(0, 4)):
            yield _about("chimney", x, 0.02, ridge - dice.uniform(0.03, 0.06), top)
    yield Part("wall", wall)
    if kind == "mansard":
        yield Part("roof", (left, ridge, right, top), taper=dice.choice([0.0, 0.12, 0.25]))
        for bay in range(bays)[1:-1] if bays > 3 else range(bays):
            centre = left + (bay + 0.5) * width
            yield _about("cornice", centre, 0.036, ridge + 0.02, ridge + 0.042, taper=0.8)
            yield _about("window", centre, 0.024, ridge + 0.042, top)
    elif kind == "gable":
        half = (right - left) * dice.uniform(0.2, 0.5)
        yield _about("molding", middle, half, top - 0.13, top, taper=1.0)
        yield _about("wall", middle, 0.8 * half, top - 0.105, top, taper=1.0)
        yield _about("deco", middle, 0.03, top - 0.06, top, arch=0.5)
    elif kind == "balustrade":
        yield Part("balcony", (left, top - 0.05, right, top))
    if kind != "cropped":
        yield Part("molding", (left - 0.012, top, right + 0.012, top + dice.uniform(0.02, 0.03 + 0.03 * ornate)))


def _upper_storeys(dice: Dice, edges: Array, levels: Array, ornate: float) -> Iterator[Part]:
    """Repeat one design over all bays, mirrored about the middle, and vary it from storey to storey."""
    bays, width = len(edges) - 1, edges[1] - edges[0]
    modern = ornate < 0.3
    sills, heads, blinds, decos = dice.random(4) < (0.75, 1.1 * ornate, 0.3, 0.5 * ornate)
    share = min(dice.uniform(0.55, 0.75) if modern else dice.uniform(0.4, 0.58), 0.5 if blinds else 1)
    tall = dice.uniform(0.48, 0.68)
    arch = dice.uniform(0.15, 0.3) * (dice.random() < 0.3)
    taper = dice.choice([0.0, 0.0, 0.85])
    from_middle = abs(np.arange(bays) - (bays - 1) / 2)
    chosen = from_middle % 2 < 1 if dice.random() < 0.5 else from_middle < 1
    balconies = 0.7 * (dice.random() < 0.6)
    for storey, (top, bottom) in enumerate(pairwise(levels)):
        height = bottom - top
        half = min(share * width, (1.6 if modern else 0.72) * tall * height) / 2
        head = top + 0.75 * height * (0.9 - tall)
        foot = head + tall * height
        rounded = arch * (storey == 0 or dice.random() < 0.5)
        stands = chosen & (dice.random() < balconies)
        for centre, balcony in zip((edges[:-1] + edges[1:]) / 2, stands, strict=True):
            yield _about("window", centre, half, head, foot, arch=rounded)
            if blinds and not rounded:
                yield _about("blind", centre - 1.42 * half, 0.42 * half, head, foot)
                yield _about("blind", centre + 1.42 * half, 0.42 * half, head, foot)
            if dice.random() < (0.15 if blinds else 0.04):
                yield _about("blind", centre, half, head, foot, arch=rounded)
            if heads and not rounded:
                yield _about(
                    "cornice", centre, 1.3 * half, head - 0.18 * height * (1 - tall) - 0.018, head, taper=taper
                )
            if balcony:
                yield _about("balcony", centre, 1.5 * half, foot - 0.28 * height, foot + 0.04 * height)
            elif sills:
                yield _about("sill", centre, 1.2 * half, foot, foot + 0.016)
            if decos and not balcony:
                yield _about("deco", centre, 0.8 * half, foot + 0.025, max(bottom - 0.01, foot + 0.045))


def _ground_storey(dice: Dice, edges: Array, top: float, street: float, ornate: float) -> Iterator[Part]:
    bays, width, height = len(edges) - 1, edges[1] - edges[0], street - top
    shops = dice.random() < 0.45
    arch = dice.uniform(0.2, 0.35) * (dice.random() < 0.35)
    doors = {bays // 2, (bays - 1) // 2} if dice.random() < 0.7 else {int(dice.integers(bays))}
    head, foot = top + 0.2 * height, top + 0.75 * height
    for bay, centre in enumerate((edges[:-1] + edges[1:]) / 2):
        if bay in doors:
            half = min(0.34 * width, 0.36 * height)
            if ornate > 0.5:
                yield _about("pillar", centre - half - 0.011, 0.011, head, street)
                yield _about("pillar", centre + half + 0.011, 0.011, head, street)
                yield _about("cornice", centre, half + 0.03, top + 0.08 * height, head)
            yield _about("door", centre, half, head, street, arch=arch)
        elif shops:
            yield _about("shop", centre, 0.43 * width, top + 0.12 * height, street)
        else:
            half = min(0.3 * width, 0.33 * height)
            yield _about("window", centre, half, head, foot, arch=arch)
            yield _about("sill", centre, 1.2 * half, foot, foot + 0.016)

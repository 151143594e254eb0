"""Fewer points that look the same."""

from collections.abc import Sequence

import numpy as np

from nas.report.axes import Axis
from nas.report.study import Point


def visible(points: Sequence[Point], x: Axis, y: Axis) -> list[Point]:
    """Return the points within the axes; NaN and infinity lie outside."""
    return [point for point in points if x.holds(point[1]) and y.holds(point[2])]


def thin(points: Sequence[Point], x: Axis, y: Axis, limit: int) -> list[Point]:
    """Return at most `limit` points, the first one of every cell of an ever coarser grid."""
    places = np.array([(x.at(ms), y.at(top1)) for _, ms, top1 in points]).reshape(-1, 2)
    cell, kept = 1.0, np.arange(len(points))
    while len(kept) > limit:
        _, first = np.unique(np.floor(places / cell), axis=0, return_index=True)
        kept, cell = np.sort(first), cell * 1.25
    return [points[index] for index in kept.tolist()]

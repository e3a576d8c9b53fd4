"""Plots of what a rung costs against the memory it takes, as SVG.

Colours are those of Okabe and Ito; the shape of a marker tells the KV cache and its filling the
weights, so nothing depends on colour. Labels are the field's English terms in both editions.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from labutils.ladder.rungs import rung

COLOURS = {
    "baseline": "#000000",
    "kv-int8": "#0072B2",
    "kv-int4": "#D55E00",
    "w4a16": "#009E73",
    "w4a16-kv-int8": "#56B4E9",
    "w4a16-kv-int4": "#CC79A7",
}
MARKERS = {0: "o", 8: "s", 4: "^"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ladder",  # the same figures give the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Point:
    """One rung in a plot: memory in MiB across, and what is compared, with its interval."""

    name: str
    memory: float
    value: float
    low: float | None = None
    high: float | None = None


def front(points: Sequence[Point], more_is_better: bool) -> list[Point]:
    """The rungs that no other beats in memory and value at once, from little memory to much."""
    sign = 1 if more_is_better else -1
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.memory, -sign * p.value)):
        if not found or sign * point.value > sign * found[-1].value:
            found.append(point)
    return found


def plot(
    points: Sequence[Point],
    label: str,
    more_is_better: bool,
    chosen: str | None = None,
    limit: float | None = None,
) -> str:
    """An SVG document.

    Args:
        points: rungs, at least one.
        label: of the vertical axis, with its unit.
        more_is_better: which way is good.
        chosen: the rung to put a ring around.
        limit: where to draw a line: what is allowed.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5, 4.6), layout="constrained")
        axes = figure.subplots()
        best = front(points, more_is_better)
        axes.plot([p.memory for p in best], [p.value for p in best], ":", color="#777777")
        for point in points:
            _draw(axes, point)
        for point in points:
            if point.name == chosen:
                about = {"color": "black", "fillstyle": "none", "markersize": 16}
                axes.plot([point.memory], [point.value], "o", label="chosen", **about)
        if limit is not None:
            axes.axhline(limit, color="#777777", linestyle="--", linewidth=1, label="allowed")
        axes.set(xlabel="weights + KV cache, MiB", ylabel=label)
        axes.margins(0.12)
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, markerscale=0.8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw(axes: matplotlib.axes.Axes, point: Point) -> None:
    about, colour = rung(point.name), COLOURS[point.name]
    filled = about.weights == "unquantized"
    errors = None
    if point.low is not None and point.high is not None:
        errors = [[point.value - point.low], [point.high - point.value]]
    at = ([point.memory], [point.value])
    if errors:
        axes.errorbar(*at, yerr=errors, fmt="none", ecolor=colour, elinewidth=1.2, capsize=3)
    axes.plot(
        *at,
        MARKERS[about.quant_policy],
        color=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=1.8,
        markersize=8,
        label=about.title,
    )

"""Pictures of calibration statistics; each returns the numbers that it draws.

Colours are those of Okabe and Ito and matplotlib's cividis, which colour-blind readers can tell
apart. Labels are in the field's English terms, so that both editions show the same picture.
"""

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from labutils.calibration import Extremes

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#BBBBBB"


def plot_absmax(absmax: torch.Tensor, title: str, ax: Axes | None = None) -> torch.Tensor:
    """A heat map of every channel's absmax by layer; outlier channels stand out as columns.

    Args:
        absmax: [layers, kv_heads, head_dim] or [layers, channels]; zeros are drawn grey.

    Returns:
        float32 [layers, channels], heads side by side.
    """
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    sizes = absmax.float().flatten(1)
    colours = plt.get_cmap("cividis").with_extremes(bad=GREY)
    drawn = sizes.where(sizes > 0, torch.nan).numpy()
    image = ax.imshow(drawn, aspect="auto", cmap=colours, norm=LogNorm(), interpolation="none")
    ax.figure.colorbar(image, ax=ax, label="absmax")
    for head in range(1, absmax.size(1) if absmax.dim() == 3 else 1):
        ax.axvline(head * absmax.size(2) - 0.5, color="white", linewidth=1)
    ax.set(title=title, xlabel="channel", ylabel="layer")
    return sizes


def plot_range(extremes: Extremes, layer: int, title: str, ax: Axes | None = None) -> torch.Tensor:
    """What each channel of a layer's K or V spans, and what one scale for the layer must span.

    Returns:
        float32 [channels, 2]: min and max of each channel, heads side by side.
    """
    ax = ax or plt.subplots(figsize=(9, 3), layout="constrained")[1]
    spans = torch.stack([extremes.min[layer], extremes.max[layer]], -1).float().flatten(0, 1)
    low, high = spans.T.numpy()
    ax.bar(range(len(spans)), high - low, bottom=low, width=1.0, color=BLUE, label="one channel")
    for number, edge in enumerate((low.min(), high.max())):
        label = "whole layer" if number == 0 else None
        ax.axhline(edge, color=ORANGE, linestyle="--", label=label)
    ax.use_sticky_edges = False  # bars would leave no room beyond the dashed lines
    ax.margins(x=0.01, y=0.08)
    ax.set(title=title, xlabel="channel", ylabel="value")
    ax.legend()
    return spans

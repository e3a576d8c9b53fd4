"""Widgets as the words they showed last: a page has neither their scripts nor a kernel.

Not here: anything that moves.
"""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nbformat import NotebookNode

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def as_text(notebook: NotebookNode, widgets: Mapping[str, Any], unknown: str) -> None:
    """Replace each widget's output by its words, in place.

    Args:
        widgets: the metadata `widgets` that the run left.
        unknown: what stands for a widget whose words were not kept.
    """
    models = {key: model["state"] for key, model in widgets.get(STATE, {}).get("state", {}).items()}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            view = output.get("data", {}).pop(VIEW, None)
            if view:
                words = " ".join(_words(view["model_id"], models))
                output.data["text/plain"] = words or unknown


def _words(model_id: str, models: Mapping[str, Any]) -> Iterator[str]:
    """What a widget and those inside it say: descriptions, values, captured outputs."""
    state = models.get(model_id.removeprefix("IPY_MODEL_"), {})
    value = state.get("value")
    if "bar_style" in state:
        value = None  # a progress bar: its neighbours say the same in words
    shown = " ".join(
        str(each) for each in (state.get("description"), value) if each not in (None, "")
    )
    if plain := html.unescape(re.sub(r"<[^>]+>", "", shown)).strip():
        yield plain
    for output in state.get("outputs", ()):
        yield output.get("text") or output.get("data", {}).get("text/plain", "")
    for child in state.get("children", ()):
        yield from _words(child, models)

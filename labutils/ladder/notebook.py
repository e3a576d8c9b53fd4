"""The ladder in a notebook: the report below its cell.

    from labutils.ladder import decide, notebook, runner
    from labutils.ladder.decision import Thresholds

    found = runner.run(out="run", quick=True)
    notebook.show(found)
    decide.decide(found, Thresholds(accuracy_loss=0.05)).rung

Left out: widgets, which are a few lines of the lesson's own.
"""

import html
from typing import Any

from labutils.ladder.report import render
from labutils.ladder.summary import Summary


def show(found: Summary, language: str = "en", height: int = 800) -> Any:
    """The report in a frame of its own, so that its styles stay within.

    Args:
        found: of `runner.run` or `summary.read`.
        language: 'en' or 'zh'.
        height: of the frame, in pixels.

    Returns:
        an `IPython.display.HTML`.
    """
    from IPython.display import HTML

    page = html.escape(render(found, language), quote=True)
    frame = 'style="width: 100%; border: 1px solid #ccc" sandbox=""'
    return HTML(f'<div><iframe srcdoc="{page}" height="{height}" {frame}></iframe></div>')

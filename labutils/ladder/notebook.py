"""The ladder in a notebook: the report below its cell.

    from labutils.ladder import decide, notebook, runner
    from labutils.ladder.decision import Thresholds

    found = runner.run(out="run", quick=True)
    notebook.show(found)
    decide.decide(found, Thresholds(accuracy_loss=0.05)).rung

Left out: widgets, which are a few lines of the lesson's own.
"""

import html
from dataclasses import replace
from typing import Any

from labutils.ladder.decide import decide
from labutils.ladder.decision import Thresholds
from labutils.ladder.report import render
from labutils.ladder.summary import Summary


def show(
    found: Summary, thresholds: Thresholds | None = None, language: str = "en", height: int = 800
) -> Any:
    """The report in a frame of its own, so that its styles stay within; nothing is measured.

    Args:
        found: of `runner.run` or `summary.read`.
        thresholds: to decide anew by; None shows the decision that was made.
        language: 'en' or 'zh'.
        height: of the frame, in pixels.

    Returns:
        an `IPython.display.HTML`.
    """
    from IPython.display import HTML

    if thresholds is not None:
        found = replace(found, decision=decide(found, thresholds))
    page = html.escape(render(found, language), quote=True)
    frame = 'style="width: 100%; border: 1px solid #ccc" sandbox=""'
    return HTML(f'<div><iframe srcdoc="{page}" height="{height}" {frame}></iframe></div>')

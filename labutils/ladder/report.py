"""The report of a run: one HTML file with everything in it, for the browser and for paper.

Whatever a model or an engine wrote is shown as text, never as markup. Left out: deciding anew when
thresholds move (`decide` is called by the notebook for that).
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jinja2

from labutils.bootstrap import write_atomically
from labutils.ladder import pareto
from labutils.ladder.decide import decide
from labutils.ladder.decision import Decision
from labutils.ladder.questions import questions
from labutils.ladder.results import Figure
from labutils.ladder.rungs import rung
from labutils.ladder.sentences import points, size
from labutils.ladder.summary import Summary
from labutils.texts import spoken

_HERE = Path(__file__).parent
_MARKS = {"measured": "m", "predicted": "p", "published": "s"}


def write(
    path: Path,
    summary: Summary,
    language: str = "en",
    links: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write `report.html`, all of it or nothing."""
    write_atomically(path, render(summary, language, links))


def render(
    summary: Summary, language: str = "en", links: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The report as HTML; a summary without a decision is decided with the usual thresholds.

    Args:
        language: 'en' or 'zh'.
        links: where a line above the title leads, address by words.
    """
    decision = summary.decision or decide(summary)
    words = spoken("report", language)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "interval": interval}
    environment.filters |= {"size": size, "points": points}
    environment.filters["named"] = lambda name: _named(name, words)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        decision=decision,
        language=language,
        links=links,
        w=words,
        marks=_MARKS,
        rung=rung,
        plots=_plots(summary, decision, words),
        categories=_categories(summary),
        questions=questions(summary, decision.thresholds.tokens),
    )


def shown(figure: Figure, signed: bool = False) -> str:
    """A figure in the unit that reads best: '41.2 ms'.

    Args:
        figure: the figure.
        signed: of a share: as points with a sign, such as '−2.0'.
    """
    scale, form, unit = _form(figure, signed)
    return f"{scale * figure.value:{form}}{unit}".replace("-", "−")


def interval(figure: Figure, signed: bool = False) -> str:
    """The ends of its interval in the same unit: '[39.8, 44.0]'; '' if it has none."""
    if figure.low is None or figure.high is None:
        return ""
    scale, form, _ = _form(figure, signed)
    return f"[{scale * figure.low:{form}}, {scale * figure.high:{form}}]".replace("-", "−")


def _form(figure: Figure, signed: bool) -> tuple[float, str, str]:
    """(factor, format, unit) to show a figure with."""
    if signed:
        return 100, "+.1f", ""
    if figure.unit == "share":
        return 100, ".1f", " %"
    if figure.unit == "seconds":
        return (1000, ".1f", " ms") if figure.value < 1 else (1, ".2f", " s")
    if figure.unit == "bytes":
        for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if figure.value >= 2**power:
                return 2**-power, ".2f", f" {name}"
        return 1, ".0f", " bytes"
    if figure.unit == "tokens":
        return 1, ",.0f", ""
    return 1, {"tokens/s": ".1f"}.get(figure.unit, ".3g"), ""


def _named(name: str, words: Mapping[str, str]) -> str:
    return words["baseline"] if name == "baseline" else rung(name).title


def _plots(summary: Summary, decision: Decision, words: Mapping[str, str]) -> list[dict[str, str]]:
    """Accuracy, KL divergence and tokens/s against memory, as far as they were measured."""
    asked, english = decision.thresholds, spoken("report", "en")
    found = []
    for kind in ("accuracy", "kl", "speed"):
        each = _points(summary, decision, kind)
        if len(each) > 1:
            label = english[f"plot_{kind}"].format(concurrency=asked.concurrency)
            limit = -100 * asked.accuracy_loss if kind == "accuracy" else None
            svg = pareto.plot(each, label, kind != "kl", decision.rung, limit)
            what = words[f"plot_{kind}"].format(concurrency=asked.concurrency)
            data = base64.b64encode(svg.encode()).decode()
            found.append({"data": data, "words": _in_words(each, what, words)})
    return found


def _in_words(points: Sequence[pareto.Point], what: str, words: Mapping[str, str]) -> str:
    """A plot for who cannot see it: every rung with its two values."""
    each = [f"{_named(p.name, words)}: {p.memory:.0f} MiB, {p.value:.3g}" for p in points]
    return words["plot_words"].format(what=what, points="; ".join(each))


def _points(summary: Summary, decision: Decision, kind: str) -> list[pareto.Point]:
    """A point for each rung that has both memory and the figure."""
    found = []
    for entry in summary.rungs:
        speed = entry.speed_at(decision.thresholds.concurrency)
        quality = entry.quality
        figure, scale = {
            "accuracy": (quality and quality.accuracy_change, 100),
            "kl": (quality and (quality.kl_mean or _zero(entry.name)), 1),
            "speed": (speed and speed.throughput, 1),
        }[kind]
        if figure and entry.memory:
            memory = entry.memory.total(decision.thresholds.tokens) / 2**20
            exact = kind == "accuracy" and entry.name == "baseline"
            low, high = (None, None) if exact else (figure.low, figure.high)
            ends = [None if end is None else scale * end for end in (low, high)]
            found.append(pareto.Point(entry.name, memory, scale * figure.value, *ends))
    return found


def _zero(name: str) -> Figure | None:
    """The baseline's distance from itself."""
    return Figure(0.0, "nats") if name == "baseline" else None


def _categories(summary: Summary) -> list[dict]:
    """For each category: its name, items, whether it counts, and each rung's accuracy in %."""
    compared = {e.name: e.quality.categories for e in summary.rungs if e.quality}
    baseline = compared.get("baseline", ())
    return [
        {
            "name": category.name,
            "items": category.items,
            "informative": category.informative,
            "right": {name: _percent(found[place]) for name, found in compared.items() if found},
        }
        for place, category in enumerate(baseline)
    ]


def _percent(category: object) -> str:
    right = category.baseline_right + category.gained - category.lost
    return f"{100 * right / category.items:.0f}"

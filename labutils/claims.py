"""The claims table: what the source promises, who published which figure, what was measured.

`data/claims.json` holds the words, in both languages. Measured figures are looked up in
`data/results` when the table is made, so none can differ from what was measured. A claim without a
published or a measured figure says so. `labutils.tables` puts the table where it is shown.
"""

import json
from functools import cache
from typing import Any

from labutils.measured import figure, markdown, read
from labutils.paths import DATA

HEADS = {
    "en": ("the tutorial says", "published", "measured for this course", "verdict"),
    "zh": ("原教程的说法", "公开发表", "本课程实测", "结论"),
}
MARKS = {"en": ("“{}” ({})", "{} ({})"), "zh": ("“{}”（{}）", "{}（{}）")}


@cache
def claims() -> dict[str, Any]:
    """data/claims.json."""
    return json.loads((DATA / "claims.json").read_text("utf-8"))


@cache
def figures() -> dict[str, float]:
    """Every measured figure that the claims use, by name; ratios where there is an `over`."""
    found = {}
    for name, place in claims()["figures"].items():
        value = figure(place["file"], place["where"]) * place.get("scale", 1)
        found[name] = value / figure(place["file"], place["over"]) if "over" in place else value
    return found


def machines(text: str) -> list[str]:
    """Names of the machines on which the figures in a text were measured."""
    used = [place for name, place in claims()["figures"].items() if f"{{{name}:" in text]
    return sorted({_machine(place["file"]) for place in used})


def _machine(file: str) -> str:
    """The GPU of a file in data/results, which a ladder's summary names in a place of its own."""
    found = read(file)
    return found["machine"]["name"] if "machine" in found else found["conditions"]["machine"]["GPU"]


def table(language: str) -> str:
    """The table in Markdown, in 'en' or 'zh'."""
    said, on = MARKS[language]
    rows = []
    for each in claims()["claims"]:
        text = each["measured"][language]
        names = ", ".join(machines(text))
        measured = text.format(**figures())
        rows.append(
            (
                said.format(each["claim"][language], each["source"][language]),
                each["published"][language],
                on.format(measured, names) if names else measured,
                each["verdict"][language],
            )
        )
    return markdown(HEADS[language], rows)

"""What is said in both languages, a CSV file for each subject: key, en, zh.

- `chat`: what a failed request means, and the labels of the chat panel: `finish:` how an answer
  ended, if not as it should;
- `commands`: the sentences of `lab commands explain`: `did:` what a command did, `gone:` what to do
  without it, `flag:` the same for one flag; the rest is what changed, and the traps;
- `decision`: the sentences of the ladder's decision; `report`: the other words of its report;
- `figures`: the words of `labutils.figures`, a box's title and lines with | between them.

{placeholders} are filled by whoever says a text. Not here: the lessons' prose, `data/claims.json`.
"""

import csv
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")


@cache
def read(subject: str) -> dict[str, dict[str, str]]:
    """The texts of a subject by key, then by language."""
    with Path(__file__).with_name(f"{subject}.csv").open(newline="", encoding="utf-8") as file:
        return {row.pop("key"): row for row in csv.DictReader(file)}


@cache
def spoken(subject: str, language: str) -> dict[str, str]:
    """The texts of a subject in one language, by key."""
    return {key: both[language] for key, both in read(subject).items()}

"""What LMDeploy's command line accepted in each release, from data/lmdeploy_commands.csv.

A row of that file holds for the releases `first` to `last`:

- `command`: "lite auto_awq"; `argument`: "--w-bits", or a bare name where the argument is
  positional, or "**" where a `fire` function took any further flag;
- `position`: 1, 2, … of positional arguments (`fire`: of all), else empty;
- `takes`: how many values: 0 (a switch), 1, * (any number), + (at least one);
- `type`, `choices` (joined by "|") and `default` (JSON, empty when the argument is needed).

Releases differ in how they read a line, see `Release.parser`.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from labutils.paths import DATA

ROWS = DATA / "lmdeploy_commands.csv"
RELEASES = DATA / "lmdeploy_releases.csv"


@dataclass(frozen=True)
class Argument:
    """One argument of one command, and the releases in which it was like this."""

    command: str
    argument: str
    first: str
    last: str
    position: int | None
    takes: str
    type: str
    choices: tuple[str, ...]
    default: str

    @property
    def name(self) -> str:
        """The name without dashes in front and without underscores: "w-bits"."""
        return plain(self.argument)


@cache
def releases() -> dict[str, str]:
    """All releases, oldest first, with how they parse.

    `fire`: every parameter by position or as --name, with - or _; `argparse`: with - only;
    `flexible`: argparse that also takes _ for -.
    """
    with RELEASES.open(newline="", encoding="utf-8") as file:
        return {row["release"]: row["parser"] for row in csv.DictReader(file)}


def today() -> str:
    """The newest release in the data, the one this course uses."""
    return list(releases())[-1]


@cache
def rows() -> tuple[Argument, ...]:
    """The whole history."""
    with ROWS.open(newline="", encoding="utf-8") as file:
        return tuple(_argument(row) for row in csv.DictReader(file))


def _argument(row: dict[str, str]) -> Argument:
    position = int(row["position"]) if row["position"] else None
    choices = tuple(row["choices"].split("|")) if row["choices"] else ()
    return Argument(**(row | {"position": position, "choices": choices}))


@cache
def arguments(command: str, release: str) -> tuple[Argument, ...]:
    """What `command` took in `release`; empty when there was no such command."""
    return tuple(row for row in _of(command) if _within(release, row))


@cache
def _of(command: str) -> tuple[Argument, ...]:
    return tuple(row for row in rows() if row.command == command)


def ever(command: str) -> tuple[Argument, ...]:
    """All that `command` ever took, newest rows first."""
    return tuple(sorted(_of(command), key=lambda row: order(row.last), reverse=True))


def commands(release: str | None = None) -> list[str]:
    """The commands of a release, or of all."""
    return sorted({row.command for row in rows() if release is None or _within(release, row)})


def span(command: str) -> tuple[str, str]:
    """First and last release that had `command`."""
    found = _of(command)
    return min((r.first for r in found), key=order), max((r.last for r in found), key=order)


def after(release: str) -> str:
    """The release that followed."""
    known = list(releases())
    return known[known.index(release) + 1]


def _within(release: str, row: Argument) -> bool:
    return order(row.first) <= order(release) <= order(row.last)


@cache
def order(release: str) -> tuple[int, ...]:
    """A key that sorts releases: 0.7.0 < 0.7.0.post3 < 0.7.1."""
    return tuple(map(int, re.findall(r"\d+", release)))


def plain(name: str) -> str:
    """A flag's name without dashes in front, its underscores as dashes."""
    return name.lstrip("-").replace("_", "-")


def columns(release: str) -> Iterator[list[str]]:
    """The rows of one release as `labutils.commands.derive` reads them from its wheel."""
    for row in rows():
        if _within(release, row):
            position = "" if row.position is None else str(row.position)
            choices = "|".join(row.choices)
            rest = [row.takes, row.type, choices, row.default]
            yield [row.command, row.argument, position, *rest]

"""Reads a command line that no release accepts, and tells a typo from a mixture of releases.

A typo raises LabError with the nearest name. A mixture, such as a flag of 0.1.0 beside one of
0.6.0, is read as far as its parts can be understood.
"""

import difflib
from collections.abc import Iterable

from labutils.commands import history, lines, parse, today
from labutils.commands.history import Argument, plain
from labutils.commands.parse import Reading
from labutils.errors import LabError

ENGINES = ("torch", "turbomind")


def read(words: list[str]) -> Reading:
    """The words by what their command took in any release; LabError at the first unknown part."""
    command = _command(words)
    successor = today.COMMANDS.get(command, (command,))[0]
    rows = [*history.ever(command), *history.ever(successor)]
    newest = {row.name: row for row in reversed(rows) if row.argument != "**"}
    positional = [row.name for row in _positional(command)]
    values, rest = {}, words[len(command.split()) :]
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            row, given = _flag(command, word, newest)
            values[row.name] = given or _take(row, rest)
        elif positional:
            values[positional.pop(0)] = [word]
        else:
            raise LabError(_too_many(command, word, words))
    return Reading(command, values)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of the known names, if any is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def _command(words: list[str]) -> str:
    known = history.commands()
    try:
        return parse.command_of(words, known)
    except parse.Refused:
        asked = " ".join(words[:2])
    inside = [name for name in known if name.startswith(f"{words[0]} ")] if words else []
    if inside and (len(words) == 1 or words[1].startswith("-")):
        raise LabError(f"lmdeploy {words[0]} needs a command: one of {', '.join(inside)}.")
    near = nearest(asked, known) or nearest(asked.split(" ")[0], known)
    if near:
        raise LabError(f"There is no lmdeploy {asked}: did you mean lmdeploy {near}?")
    raise LabError(f"There is no lmdeploy {asked}: the commands are {', '.join(known)}.")


def _positional(command: str) -> list[Argument]:
    """Positional arguments of the last release that had the command, in order."""
    rows = history.arguments(command, history.span(command)[1])
    return sorted((row for row in rows if row.position), key=lambda row: row.position)


def _flag(command: str, word: str, known: dict[str, Argument]) -> tuple[Argument, list[str]]:
    """The flag's newest row, and the value after = if there is one."""
    name, equals, value = word.partition("=")
    row = known.get(plain(name))
    if row is None:
        near = nearest(plain(name), known)
        hint = f"did you mean --{near}?" if near else "see lmdeploy " + command + " --help."
        raise LabError(f"lmdeploy {command} never had {name}: {hint}")
    return row, [_value(row, value)] if equals else []


def _take(row: Argument, rest: list[str]) -> list[str]:
    """The values that follow a flag; switches of `fire` were followed by True or False."""
    if row.takes == "0":
        return [rest.pop(0)] if rest and rest[0] in ("True", "False") else []
    taken = []
    while rest and not rest[0].startswith("--") and (row.takes != "1" or not taken):
        taken.append(_value(row, rest.pop(0)))
    if row.takes in ("1", "+") and not taken:
        raise LabError(f"{row.argument} needs a value.")
    return taken


def _value(row: Argument, value: str) -> str:
    """The value, if any release took it."""
    rows = [r for r in history.ever(row.command) if r.name == row.name]
    if lines.is_placeholder(value) or any(parse.fits(r, value) for r in rows):
        return value
    choices = [choice for r in rows for choice in r.choices]
    near = nearest(value, choices)
    kind = {"int": "a whole number", "float": "a number"}.get(row.type, ", ".join(row.choices))
    hint = f"did you mean {near}?" if near else f"it takes {kind}."
    raise LabError(f"--{row.name} does not take {value!r}: {hint}")


def _too_many(command: str, word: str, words: list[str]) -> str:
    if command == "chat" and (near := nearest(words[1], ENGINES)):
        return f"There is no lmdeploy chat {words[1]}: did you mean lmdeploy chat {near}?"
    return (
        f"lmdeploy {command} does not know what to do with {word!r}: a flag or a quote is missing."
    )

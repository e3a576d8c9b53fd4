"""Would a release of LMDeploy accept these words, and what do they mean to it?

For releases with argparse an `argparse` parser is made from the data, so that abbreviations,
`--flag=value` and the like come out as LMDeploy has them. The `fire` releases before are read by
fire's rules. Left out: what LMDeploy checks after parsing, such as whether a model exists.
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from labutils.commands import history, lines
from labutils.commands.history import Argument, plain

TOP = ("-h", "--help", "-v", "--version")
TEMPLATE = frozenset("meta-instruction session-len temperature top-k top-p".split())
ENGINE = frozenset(
    "cache-max-entry-count group-size max-batch-size model-format model-name quant-policy "
    "repetition-penalty revision rope-scaling-factor use-context-fmha use-logn-attn".split()
)
UNDERSTOOD = {"0.0.13": TEMPLATE, "0.0.14": TEMPLATE, "0.1.0": TEMPLATE | ENGINE}
"""What was looked for among the further flags ("**") that `fire` functions let pass unchecked."""


class Refused(Exception):
    """The release does not accept the words; its message says why, in the parser's English."""


@dataclass(frozen=True)
class Reading:
    """What a command line says: values by argument name ("model-path"), as they were written."""

    command: str
    values: dict[str, list[str]]


def accepts(words: list[str], release: str) -> bool:
    """Whether `release` parses the words."""
    try:
        read(words, release)
    except Refused:
        return False
    return True


def read(words: list[str], release: str) -> Reading:
    """The words as `release` understands them; Refused if it does not."""
    style = history.releases()[release]
    commands = history.commands(release)
    if _shows_help(words, commands, style):
        return Reading("", {})
    command = command_of(words, commands)
    rest = words[len(command.split()) :]
    known = history.arguments(command, release)
    if {"-h", "--help"} & set(rest):
        return Reading(command, {})
    if style == "fire":
        return Reading(command, _by_fire(rest, known, UNDERSTOOD[release]))
    return Reading(command, _by_argparse(_flexible(rest) if style == "flexible" else rest, known))


def _shows_help(words: list[str], commands: list[str], style: str) -> bool:
    """Whether the line names no command: `lmdeploy`, `lmdeploy lite`, `lmdeploy --version`."""
    if words and words[0] in TOP:
        return style != "fire"
    groups = {name.split()[0] for name in commands} - {*commands}
    return not words or (words[0] in groups and words[1:] in ([], ["-h"], ["--help"]))


def command_of(words: list[str], commands: list[str]) -> str:
    """The longest of `commands` that the words begin with."""
    for length in (2, 1):
        if " ".join(words[:length]) in commands:
            return " ".join(words[:length])
    raise Refused(f"there is no command {' '.join(words[:2])!r}")


# --- argparse -------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def _by_argparse(words: list[str], known: tuple[Argument, ...]) -> dict[str, list[str]]:
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for argument in sorted(known, key=lambda a: a.position or 0):
        parser.add_argument(argument.argument, **_options(argument))
    given = vars(parser.parse_args(words))
    return {plain(name): [v] if isinstance(v, str) else v for name, v in given.items()}


def _options(argument: Argument) -> dict[str, Any]:
    if argument.takes == "0":
        return {"action": "store_const", "const": []}
    nargs = None if argument.takes == "1" else argument.takes
    return {"nargs": nargs, "type": _checked(argument)}


def fits(argument: Argument, value: str) -> bool:
    """Whether the argument takes this value."""
    try:
        _checked(argument)(value)
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return True


def _checked(argument: Argument) -> Callable[[str], str]:
    """Refuses what the flag's own type and choices refuse; leaves the rest as it was written."""
    kinds = {"int": int, "float": float, "json": json.loads, "policy": str.lower}
    kind = kinds.get(argument.type, str)

    def check(text: str) -> str:
        if lines.is_placeholder(text):
            return text
        if argument.choices and kind(text) not in map(kind, argument.choices):
            raise argparse.ArgumentTypeError(f"{text} is not one of {argument.choices}")
        kind(text)
        return text

    return check


def _flexible(words: list[str]) -> list[str]:
    """What 0.9.2 and later do first: _ in a flag becomes -, and --flag.key v a JSON value."""
    result = list(words)
    for i, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            flag, dot, keys = name.partition(".")
            result[i] = flag.replace("_", "-") + (equals + value if not dot else "={}")
            if dot and not equals:
                result[i + 1 : i + 2] = [None]  # the value went into the JSON
    return [word for word in result if word is not None]


# --- fire -----------------------------------------------------------------------------------------


def _by_fire(
    words: list[str], known: tuple[Argument, ...], understood: frozenset[str]
) -> dict[str, list[str]]:
    """Parameters by name first, then the remaining words by position, as fire assigns them."""
    order = [a.name for a in sorted(known, key=lambda a: a.position or 99) if a.argument != "**"]
    names = {*order, *(understood if len(order) < len(known) else ())}
    given, loose = _fire_flags(words, names)
    values = dict(given)
    for name in order:
        if name not in values and loose:
            values[name] = [loose.pop(0)]
    missing = [a.name for a in known if not a.argument.startswith(("-", "*"))]
    missing = [name for name in missing if name not in values]
    if loose or missing:
        raise Refused(f"too many: {loose}" if loose else f"missing: {missing}")
    return values


def _fire_flags(words: list[str], names: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    given, loose, rest = {}, [], list(words)
    while rest:
        word = rest.pop(0)
        if not _is_flag(word):
            loose.append(word)
            continue
        key, equals, value = plain(word).partition("=")
        switch = not equals and (not rest or _is_flag(rest[0]))
        if switch and key not in names and key.startswith("no") and key[2:] in names:
            key, value = key[2:], "False"
        elif switch:
            value = "True"
        elif not equals:
            value = rest.pop(0)
        if key not in names:
            raise Refused(f"there is no {word}")
        given[key] = [value]
    return given, loose


def _is_flag(word: str) -> bool:
    return bool(re.match(r"-[^\d.]", word))

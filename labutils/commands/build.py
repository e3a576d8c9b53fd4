"""LMDeploy command lines as argument lists, checked before anything is started."""

from importlib import metadata
from typing import Any

from labutils.commands import history, loose, parse
from labutils.commands.history import Argument
from labutils.errors import LabError


def command(name: str, *positional: Any, **options: Any) -> list[str]:
    """The argument list of `lmdeploy NAME …` for the installed LMDeploy.

    >>> command("serve api_server", "models/m", server_port=23333, quant_policy=8)[3:]
    ['models/m', '--server-port', '23333', '--quant-policy', '8']

    Options are flags with _ for -. True is a switch without a value; None and False leave the
    option out; a list gives several values. LabError says what is wrong and what is nearest.
    """
    release = installed()
    known = {row.name: row for row in history.arguments(name, release) if not row.position}
    if name not in history.commands(release):
        near = loose.nearest(name, history.commands(release))
        hint = f"did you mean {near}?" if near else "see lmdeploy --help."
        raise LabError(f"LMDeploy {release} has no command {name!r}: {hint}")
    words = [*name.split(), *map(str, positional)]
    for option, value in options.items():
        if value is not None and value is not False:
            words += _option(_row(name, option, known, release), value)
    return ["lmdeploy", *_accepted(words, release)]


def installed() -> str:
    """The installed LMDeploy if the data has it, else the newest in the data."""
    try:
        version = metadata.version("lmdeploy")
    except metadata.PackageNotFoundError:
        return history.today()
    return version if version in history.releases() else history.today()


def _row(command: str, option: str, known: dict[str, Argument], release: str) -> Argument:
    name = history.plain(option.rstrip("_"))  # async_ is --async
    if name in known:
        return known[name]
    near = loose.nearest(name, known)
    hint = f"did you mean {near.replace('-', '_')}?" if near else f"see lmdeploy {command} --help."
    raise LabError(f"LMDeploy {release}: {command} has no option {option}: {hint}")


def _option(row: Argument, value: Any) -> list[str]:
    if row.takes == "0":
        if value is not True:
            raise LabError(f"{row.argument} is a switch: give True or False, not {value!r}.")
        return [row.argument]
    values = [str(v) for v in (value if isinstance(value, list | tuple) else [value])]
    wrong = next((v for v in values if not parse.fits(row, v)), None)
    if wrong is not None or value is True:
        takes = ", ".join(row.choices) or row.type
        raise LabError(f"{row.argument} does not take {wrong or value!r}: it takes {takes}.")
    return [row.argument, *values]


def _accepted(words: list[str], release: str) -> list[str]:
    """The words, once the release's whole parser accepts them."""
    try:
        parse.read(words, release)
    except parse.Refused as error:
        raise LabError(f"LMDeploy {release} refuses lmdeploy {' '.join(words)}: {error}.") from None
    return words

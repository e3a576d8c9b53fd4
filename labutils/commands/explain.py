"""`lab commands explain`: when a command line was valid, what it did, and what to type now."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labutils.commands import history, lines, loose, parse, today
from labutils.commands.history import order, plain
from labutils.commands.notes import Note
from labutils.commands.parse import Reading

CALIBRATING = ("lite auto_awq", "lite auto_gptq", "lite calibrate", "lite smooth_quant")
DEPRECATED = "0.3.0"
"""Began to call `chat torch` and `chat turbomind` old forms: what they meant until then counts."""
ADDRESS = re.compile(r"localhost|(\d+\.){3}\d+")
OLD_FAMILIES = re.compile(r"(?i)(.*/)?(internlm-|qwen-\d|baichuan)[^/]*")


@dataclass(frozen=True)
class Explanation:
    """The verdict on one command line; releases are the latest unbroken run that accepted it."""

    command: str
    valid_from: str | None
    valid_to: str | None
    parses_today: bool
    today: str | None
    said: tuple[Note, ...]

    def notes(self, language: str = "en") -> list[str]:
        """What it did, what changed, and the traps, a sentence each or a few."""
        return [note.say(language) for note in self.said]

    def report(self, language: str = "en") -> dict:
        """What `lab commands explain --json` prints."""
        names = ("valid_from", "valid_to", "parses_today", "today")
        return {name: getattr(self, name) for name in names} | {"notes": self.notes(language)}

    def lines(self, language: str = "en") -> list[str]:
        """The same for people, the line to type first."""
        now = Note("type", {"line": self.today}) if self.today else Note("nothing")
        return [now.say(language), "", *(f"- {note}" for note in self.notes(language))]


def explain(line: str) -> Explanation:
    """The verdict on `line`; LabError for a typo, with the nearest name."""
    words = lines.words(line)
    span = _latest_run([release for release in history.releases() if parse.accepts(words, release)])
    reading = _meant(words, span) if span else loose.read(words)
    release = span[-1] if span else history.span(reading.command)[1]
    first, last = (span[0], span[-1]) if span else (None, None)
    parses = last == history.today()
    new, changes = _now(words, reading, first or release, release, parses)
    said = [Note(f"did:{reading.command}"), _when(first, last), *_form(words, reading)]
    said += [*changes, *_traps(Line(reading, first or release, release))]
    return Explanation(reading.command, first, last, parses, new, tuple(dict.fromkeys(said)))


def _latest_run(accepted: list[str]) -> list[str]:
    """The last of the unbroken runs of releases."""
    run: list[str] = []
    for release in reversed(list(history.releases())):
        if release in accepted:
            run.insert(0, release)
        elif run:
            break
    return run


def _meant(words: list[str], span: list[str]) -> Reading:
    """As the newest release of the run reads it.

    The second word of `serve api_server` was the address before 0.1.0 and the model's name in it.
    """
    readings = [parse.read(words, release) for release in reversed(span)]
    names = (reading.values.get("model-name", [""])[0] for reading in readings)
    sensible = (r for r, name in zip(readings, names, strict=True) if not ADDRESS.fullmatch(name))
    return next(sensible, readings[0])


def _when(first: str | None, last: str | None) -> Note:
    if last is None:
        return Note("never")
    if last == history.today():
        return Note("valid today", {"first": first})
    return Note("refused", {"first": first, "last": last, "since": history.after(last)})


def _now(
    words: list[str], reading: Reading, first: str, release: str, parses: bool
) -> tuple[str | None, list[Note]]:
    """The line to type now, as it was written if that still does, and what changed."""
    if parses and not reading.values:
        return lines.text(words), []
    if not reading.command:
        return "lmdeploy --help", []
    old_form = reading.command in ("chat torch", "chat turbomind")
    if old_form and order(first) <= order(DEPRECATED):
        release = min(release, DEPRECATED, key=order)
    new, notes = today.rewrite(reading, release)
    if new is None:
        return None, notes
    same = parses and parse.read(new, history.today()) == reading
    return lines.text(words if same else new), notes


# --- what the form of the line says ---------------------------------------------------------------


def _form(words: list[str], reading: Reading) -> Iterator[Note]:
    """Spelling, and what is positional, where the last release with the command differs."""
    flags = [re.split(r"[=.]", word)[0] for word in words if word.startswith("--")]
    for flag in [flag for flag in flags if "_" in flag][:1]:
        yield Note("spelling", {"flag": flag, "new": flag.replace("_", "-")})
    if not reading.command:
        return
    rows = history.arguments(reading.command, history.span(reading.command)[1])
    for row in rows:
        named = [flag for flag in flags if plain(flag) == row.name]
        if row.position and named:
            yield Note("positional", {"flag": named[0]})
        elif row.takes == "1" and not row.position and row.name in reading.values:
            if not any(row.name.startswith(plain(flag)) for flag in flags):
                yield Note("named", {"flag": row.argument})


# --- traps ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line as read, with the first and last release of the run that accepted it."""

    reading: Reading
    first: str
    last: str

    @property
    def command(self) -> str:
        """Its command."""
        return self.reading.command

    def value(self, name: str) -> str | None:
        """The value of an argument, "" of a switch; None when it is not given."""
        given = self.reading.values.get(name)
        return None if given is None else " ".join(given)

    def starts_before(self, release: str) -> bool:
        """Whether a release before this one accepted the line."""
        return order(self.first) < order(release)

    def ends_before(self, release: str) -> bool:
        """Whether this release and all later ones refuse the line."""
        return order(self.last) < order(release)

    @property
    def workspace(self) -> bool:
        """Whether it loads what `lmdeploy convert` wrote."""
        names = ("model-path", "model-path-or-server")
        loads = self.command.startswith(("chat", "serve"))
        return loads and any(today.is_workspace(self.value(name) or "") for name in names)


TRAPS: dict[str, Callable[[Line], bool]] = {
    "workspace": lambda line: line.workspace,
    "config.ini": lambda line: (
        line.workspace
        and line.command in ("serve api_server", "serve gradio")
        and line.value("quant-policy") is None
        and line.starts_before("0.6.0")
        and not line.ends_before("0.2.0")
    ),
    "quant_policy": lambda line: line.value("quant-policy") == "4" and line.starts_before("0.4.0"),
    "search_scale": lambda line: bool(line.value("search-scale")),
    "c4": lambda line: line.value("calib-dataset") == "c4",
    "calibrate": lambda line: line.command == "lite calibrate",
    "awq": lambda line: line.command == "lite auto_awq" and line.starts_before("0.2.0"),
    "kv_qparams": lambda line: line.command == "lite kv_qparams" and not line.ends_before("0.4.0"),
    "num_tp": lambda line: (
        line.command == "lite kv_qparams"
        and line.value("num-tp") is None
        and not line.ends_before("0.2.0")
    ),
    "kv_sym": lambda line: line.value("kv-sym") in ("", "True"),
    "internlm2": lambda line: (
        line.starts_before("0.2.0") and "internlm2" in str(line.reading.values).lower()
    ),
    "served name": lambda line: (
        line.command == "serve api_server"
        and line.value("model-name") is not None
        and line.starts_before("0.6.0")
    ),
    "cache": lambda line: (
        line.value("cache-max-entry-count") is not None and line.starts_before("0.2.2")
    ),
    "trust": lambda line: (
        line.command.startswith("chat") and line.value("trust-remote-code") is not None
    ),
}


def _traps(line: Line) -> Iterator[Note]:
    """The sentences of TRAPS that apply, and two that name something."""
    yield from (Note(key) for key, applies in TRAPS.items() if applies(line))
    then, now = _dataset(line, line.first), _dataset(line, history.today())
    if line.command in CALIBRATING and line.value("calib-dataset") is None and then and then != now:
        yield Note("dataset", {"then": then, "now": now})
    model = line.value("model-path") or ""
    pytorch = line.command == "chat torch" or line.value("backend") == "pytorch"
    if not pytorch and OLD_FAMILIES.fullmatch(model) and line.command.startswith(("chat", "serve")):
        yield Note("old model", {"model": model})


def _dataset(line: Line, release: str) -> str:
    """A release's default calibration text."""
    rows = history.arguments(line.command, release)
    return next((row.default.strip('"') for row in rows if row.name == "calib-dataset"), "")

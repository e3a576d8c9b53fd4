"""What to type today in place of an old command line.

The newest release's data decides what still stands; the tables here say what took the place of what
is gone. The line is to do today what it did then, with two exceptions: a model converted by
`lmdeploy convert` becomes MODEL, and `--search-scale False` is taken at its word.
"""

import re
from collections.abc import Iterator

from labutils.commands import history, lines, parse
from labutils.commands.history import Argument, order
from labutils.commands.notes import Note
from labutils.commands.parse import Reading

COMMANDS = {
    "chat torch": ("chat", {"backend": ["pytorch"]}),
    "chat turbomind": ("chat", {}),
    "serve gradio": ("serve api_server", {}),
}
"""Old command: its successor, and what stands for the old one's name there."""
FLAGS = {
    "batch-size": "max-batch-size",  # of serve gradio
    "disable-vision-encoder": "language-model-only",
    "instance-num": "max-batch-size",
    "max-session-len": "session-len",
    "model-path-or-server": "model-path",
    "strategy": "routing-strategy",
}
VALUES = {("calib-dataset", "ptb"): "wikitext2"}
TEMPLATES = ("chatglm", "codellama", "llama2", "mistral", "mixtral", "vicuna")
"""Chat templates for text that LMDeploy 0.18.0 still has by name."""


def rewrite(old: Reading, release: str) -> tuple[list[str] | None, list[Note]]:
    """The words to type today, None when nothing takes the line's place; and what changed.

    `release` is the one whose meaning of the line counts.
    """
    command, values, notes = _command(old)
    if command is None:
        return None, notes
    kept: dict[str, list[str]] = {}
    for name, given in values.items():
        flag = _Flag(old.command, command, name, given, release)
        kept |= flag.today
        notes += flag.notes
    for row in _known(command).values():
        if row.position and row.name not in kept:
            kept[row.name] = ["MODEL"]
            notes.append(Note("needed", {"argument": row.argument}))
    return _words(command, kept), notes


def _command(old: Reading) -> tuple[str | None, dict[str, list[str]], list[Note]]:
    """Today's command, the values it starts from, and what is to say about the old one."""
    if old.command in history.commands(history.today()):
        return old.command, old.values, []
    since = history.after(history.span(old.command)[1])
    notes = [Note("command", {"command": old.command, "since": since})]
    notes.append(Note(f"gone:{old.command}"))
    if old.command == "lite kv_qparams":
        return "serve api_server", {"model-path": ["MODEL"], "quant-policy": ["8"]}, notes
    if old.command not in COMMANDS or ":" in old.values.get("model-path-or-server", [""])[0]:
        return None, {}, notes
    command, besides = COMMANDS[old.command]
    return command, old.values | besides, notes


def _known(command: str) -> dict[str, Argument]:
    return {row.name: row for row in history.arguments(command, history.today())}


def _words(command: str, values: dict[str, list[str]]) -> list[str]:
    known = _known(command)
    positional = sorted((n for n in values if known[n].position), key=lambda n: known[n].position)
    words = [*command.split(), *(values[name][0] for name in positional)]
    for name, given in values.items():
        if name not in positional:
            words += [known[name].argument, *given]
    return words


class _Flag:
    """One argument of an old line: what stands for it today, and what is to say about it."""

    def __init__(self, old: str, command: str, name: str, given: list[str], release: str) -> None:
        self.old, self.command, self.name, self.release = old, command, name, release
        self.notes: list[Note] = []
        known = _known(command)
        new = name if name in known else FLAGS.get(name)
        self.today = self._standing(known[new], given) if new in known else {}
        if new not in known:
            self._gone()
        elif new != name and not known[new].position:
            self._say("renamed", flag=f"--{name}", new=f"--{new}")
        if name == "model-name" and order(release) < order("0.6.0"):
            self._template(given[0])

    def _say(self, key: str, **fields: str) -> None:
        self.notes.append(Note(key, fields))

    def _standing(self, row: Argument, given: list[str]) -> dict[str, list[str]]:
        """The argument as the newest release takes it; nothing where it refuses the value."""
        if row.position and is_workspace(given[0]):
            return {row.name: ["MODEL"]}
        if row.takes == "0":
            return self._switch(row, given)
        if self.name == "quant-policy" and given == ["4"] and order(self.release) < order("0.4.0"):
            return {row.name: ["8"]}
        if all(parse.fits(row, value) for value in given):
            return {row.name: given}
        value = given[0]
        self._say("value", flag=row.argument, value=value, since=_since(self.command, row, value))
        replaced = VALUES.get((row.name, value))
        return {row.name: [replaced]} if replaced else {}

    def _switch(self, row: Argument, given: list[str]) -> dict[str, list[str]]:
        if given:
            self._say("switch", flag=row.argument)
        turned_off = given in (["False"], ["0"])
        distrusts = row.name == "trust-remote-code" and order(self.release) < order("0.6.0")
        return {} if turned_off or distrusts else {row.name: []}

    def _gone(self) -> None:
        """Say since when; of the old command, or of its successor if that still had the flag."""
        for command in dict.fromkeys((self.old, self.command)):
            rows = [row for row in history.ever(command) if row.name == self.name]
            if rows and rows[0].last != history.span(command)[1]:
                since = history.after(rows[0].last)
                self._say("flag", command=command, flag=f"--{self.name}", since=since)
                break
        else:
            self._say("flag never", command=self.command, flag=f"--{self.name}")
        self.notes += list(_hint(self.name))

    def _template(self, model: str) -> None:
        """Up to 0.5.3 the model's name chose the chat template."""
        family = [name for name in TEMPLATES if model.lower().startswith(name)]
        if family:
            self.today |= {"chat-template": family}


def _hint(name: str) -> Iterator[Note]:
    if Note.exists(f"flag:{name}"):
        yield Note(f"flag:{name}")


def _since(command: str, row: Argument, value: str) -> str:
    """The release that began to refuse a value."""
    rows = [r for r in history.ever(command) if r.name == row.name and parse.fits(r, value)]
    return history.after(rows[0].last) if rows else history.span(command)[0]


def is_workspace(path: str) -> bool:
    """Whether a path names what `lmdeploy convert` wrote, going by its name."""
    return bool(re.search(r"(^|/)workspace[^/]*/?$", path)) and not lines.is_placeholder(path)

"""Drives a chat program in a real pseudo-terminal, so that a notebook can show what a student at a
keyboard would see.

Left out: full-screen programs; this reads a stream of text.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect

from labutils.errors import LabError

PROMPT = "double enter to end input >>> "


def terminal_chat(
    messages: Sequence[str], command: Sequence[str], timeout: float = 300.0
) -> list[tuple[str, str]]:
    """Hold a conversation with `lmdeploy chat` as if typed, then leave with `exit`.

    Args:
        messages: what to type, one message a turn; each is ended by two presses of Enter.
        command: the command line, for example ["lmdeploy", "chat", folder].
        timeout: seconds to wait for each turn.

    Returns:
        (message, answer) of every turn, as the terminal showed them.

    Raises:
        LabError: the program ended or fell silent before the conversation was over.
    """
    program = Path(sys.executable).with_name(command[0])
    child = pexpect.spawn(
        str(program if program.is_file() else command[0]),
        list(command[1:]),
        encoding="utf-8",
        timeout=timeout,
        dimensions=(50, 4000),  # wide, so that the terminal wraps no line of an answer
    )
    try:
        child.setecho(False)
        child.expect_exact(PROMPT)
        turns = [(message, _say(child, message)) for message in messages]
        child.send("exit\n\n")
        child.expect(pexpect.EOF)
        return turns
    except (pexpect.EOF, pexpect.TIMEOUT) as error:
        last = (child.before or "").strip().splitlines()[-1:] or ["(nothing)"]
        kind = "ended" if isinstance(error, pexpect.EOF) else f"was silent for {timeout:.0f} s"
        raise LabError(f"{' '.join(command[:2])} {kind}; its last line was: {last[0]}") from error
    finally:
        child.close(force=True)


def _say(child: pexpect.spawn, message: str) -> str:
    """Type one message and return the answer shown before the next prompt."""
    child.send(f"{message}\n\n")
    child.expect_exact(PROMPT)
    return child.before.replace("\r\n", "\n").strip()

"""From a line as people write it to the words that LMDeploy gets.

>>> words("$ CUDA_VISIBLE_DEVICES=0 lmdeploy chat ./workspace --tp 1   # local chat")
['chat', './workspace', '--tp', '1']
"""

import re
import shlex
from functools import cache

from labutils.commands import history
from labutils.errors import LabError

ASSIGNMENT = re.compile(r"\w+=.*")
END = re.compile(r"(&&|\|\|?|&|;|\d?>.*)")
"""Where the shell starts something else."""
PROMPT = re.compile(r"\A\s*[$!%]\s*(?=\S)")
PLACEHOLDER = re.compile(r"\$\w+|\$?\{\w+\}|<[^<>]+>|[A-Z][A-Z_]*")


def words(line: str) -> list[str]:
    """The arguments of an `lmdeploy …` line; LabError when it is none."""
    found = _split(PROMPT.sub("", line, count=1).replace("\\\n", " "))
    while found and ASSIGNMENT.fullmatch(found[0]):
        found.pop(0)
    if found[:2] == ["lab", "classic"]:
        found = found[2:]
    if found[1:3] == ["-m", "lmdeploy"]:
        found = found[2:]
    if not found or not re.fullmatch(r"(.*/)?lmdeploy", found[0]):
        raise LabError('Give one command line that begins with lmdeploy, like "lmdeploy chat M".')
    end = next((i for i, word in enumerate(found) if END.fullmatch(word)), len(found))
    return found[1:end]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise LabError(f"The line cannot be read as a shell would: {error}.") from None


def is_placeholder(word: str) -> bool:
    """Whether a word stands for another: $PORT, ${port}, <n>, MODEL; not INFO, a flag's choice."""
    return bool(PLACEHOLDER.fullmatch(word)) and word not in _accepted()


@cache
def _accepted() -> frozenset[str]:
    return frozenset(choice for row in history.rows() for choice in row.choices)


def text(arguments: list[str]) -> str:
    """The command line for a terminal; variables and placeholders stay as they are."""
    quoted = (word if is_placeholder(word) else shlex.quote(word) for word in arguments)
    return " ".join(["lmdeploy", *quoted])

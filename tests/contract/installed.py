"""Whether the installed LMDeploy parses a line, to check the data on releases against it."""

import argparse
import contextlib
import io
import sys
from functools import cache

from labutils.commands._parser_of_wheel import Built, stop


@cache
def parser() -> argparse.ArgumentParser:
    """LMDeploy's own parser, taken where its start function is about to parse."""
    from lmdeploy.cli.entrypoint import run

    words, parse_args = sys.argv, argparse.ArgumentParser.parse_args
    sys.argv, argparse.ArgumentParser.parse_args = ["lmdeploy"], stop
    try:
        run()
    except Built as built:
        return built.args[0]
    finally:
        sys.argv, argparse.ArgumentParser.parse_args = words, parse_args


def accepts(words: list[str]) -> bool:
    """Whether the installed LMDeploy parses the words; nothing is run."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            parser().parse_args(words)
    except SystemExit as end:
        return end.code in (0, None)
    return True

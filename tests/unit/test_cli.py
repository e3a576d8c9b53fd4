"""The command line that scripts rely on: its commands, and the two kinds of `lab bench`."""

import argparse

import pytest

from labutils import cli
from labutils.gpu import commands as benches


def commands(parser: argparse.ArgumentParser) -> set[str]:
    groups = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {name for group in groups for name in group.choices}


def test_lab_has_eight_commands():
    names = "doctor model commands notebooks bench ladder classic grade"
    assert commands(cli.parser()) == set(names.split())


def test_lab_alone_says_what_there_is(capsys):
    assert cli.main([]) == 2
    assert "doctor" in capsys.readouterr().out


def test_bench_takes_its_own_options_with_and_without_gpu():
    plain = cli.parser().parse_args(["bench", "--json", "--batch", "1"])
    assert (plain.json, plain.batch, plain.prompt, plain.run) == (True, [1], 512, cli._bench)
    gpu = cli.parser().parse_args(["bench", "gpu", "--model", "m"])
    assert (gpu.batch, gpu.prompt, gpu.run) == ([1, 16, 64, 256], 128, benches._bench)


def test_what_bench_does_not_know_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        cli.parser().parse_args(["bench", "tpu"])
    assert refused.value.code == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err

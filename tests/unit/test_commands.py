"""`lab commands explain` and `labutils.commands` on typos, odd spellings and wrong options."""

import json
import re
import subprocess
import sys

import pytest

from labutils import cli, texts
from labutils.commands import command, derive, explain, history, lines, loose, parse
from labutils.errors import LabError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lmdeploy chat M", ["chat", "M"]),
        ("$ lmdeploy chat M  # talk", ["chat", "M"]),
        ("!lmdeploy chat M", ["chat", "M"]),
        ("A=1 B='x y' .venv/bin/lmdeploy chat M", ["chat", "M"]),
        ("python3 -m lmdeploy chat M", ["chat", "M"]),
        ("lab classic lmdeploy convert a b", ["convert", "a", "b"]),
        ("lmdeploy chat \\\n  M \\\n  --tp 2", ["chat", "M", "--tp", "2"]),
        ("lmdeploy chat '模型 一' --tp 2 > log.txt 2>&1 &", ["chat", "模型 一", "--tp", "2"]),
        ("lmdeploy chat M | tee x", ["chat", "M"]),
        ("lmdeploy chat M && echo done", ["chat", "M"]),
        ("lmdeploy chat <model> --tp ${tp}", ["chat", "<model>", "--tp", "${tp}"]),
        ("lmdeploy", []),
    ],
)
def test_lines_are_read_as_a_shell_reads_them(line, words):
    assert lines.words(line) == words


@pytest.mark.parametrize("line", ["", "pip install lmdeploy", "lmdeploy chat 'M", "# lmdeploy"])
def test_what_is_no_command_line(line):
    with pytest.raises(LabError):
        lines.words(line)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("lmdeploy chta M", "did you mean lmdeploy chat?"),
        ("lmdeploy serve api-server M", "did you mean lmdeploy serve api_server?"),
        ("lmdeploy lite auto_awk M", "did you mean lmdeploy lite auto_awq?"),
        ("lmdeploy quantise M", "the commands are chat, chat torch"),
        ("lmdeploy chat turbomnd M", "did you mean lmdeploy chat turbomind?"),
        ("lmdeploy chat M --quant-polcy 8", "did you mean --quant-policy?"),
        ("lmdeploy serve api_server M --sever_port 1", "did you mean --server-port?"),
        ("lmdeploy chat turbomind M --modle_name x", "did you mean --model-name?"),
        ("lmdeploy chat M --xyzzy", "see lmdeploy chat --help."),
        ("lmdeploy chat M --backend turbomnd", "did you mean turbomind?"),
        ("lmdeploy chat M --backend=turbomnd", "did you mean turbomind?"),
        ("lmdeploy chat M --tp two", "it takes a whole number."),
        ("lmdeploy chat M --tp", "--tp needs a value."),
        ("lmdeploy lite auto_awq M D 4 False 128 cuda more", "what to do with 'D'"),
        ("lmdeploy lite --w-bits 4", "needs a command: one of lite auto_awq"),
    ],
)
def test_typos_get_the_nearest_name(line, hint):
    with pytest.raises(LabError, match=re.escape(hint)):
        explain(line)


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["commands", "explain", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_json(capsys):
    code, out, _ = run(capsys, "--json", "lmdeploy chat turbomind ./workspace")
    said = json.loads(out)
    assert code == 0
    assert list(said) == ["valid_from", "valid_to", "parses_today", "today", "notes"]
    assert (said["valid_from"], said["valid_to"]) == ("0.0.13", "0.5.0")
    assert said["parses_today"] is False
    assert said["today"] == "lmdeploy chat MODEL"
    assert all(isinstance(note, str) for note in said["notes"])


def test_nothing_takes_the_place_of_convert(capsys):
    _, out, _ = run(capsys, "--json", "lmdeploy convert internlm2-chat-7b M")
    assert json.loads(out)["today"] is None
    _, out, _ = run(capsys, "lmdeploy convert internlm2-chat-7b M")
    assert out.startswith("Today: no LMDeploy command takes its place.\n")


def test_chinese(capsys):
    _, out, _ = run(capsys, "--language", "zh", "lmdeploy serve api_server M --quant-policy 4")
    assert out.startswith("现在输入：lmdeploy serve api_server M --quant-policy 4\n")
    assert "要 int8 写 8" in out


def test_a_typo_is_one_sentence_and_exit_code_2(capsys):
    code, out, err = run(capsys, "lmdeploy chat M --quant-polcy 8")
    assert (code, out) == (2, "")
    assert err == "lab: lmdeploy chat never had --quant-polcy: did you mean --quant-policy?\n"


def test_it_is_quick_and_loads_nothing_heavy():
    program = (
        "import sys, time; start = time.perf_counter(); from labutils import cli;"
        "cli.main(['commands', 'explain', 'lmdeploy chat turbomind M']);"
        "assert not {'torch', 'lmdeploy', 'numpy', 'transformers'} & {*sys.modules};"
        "assert time.perf_counter() - start < 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("name", history.commands())
def test_every_command_is_described(name):
    assert f"did:{name}" in texts.read("commands")
    gone = name not in history.commands(history.today())
    assert (f"gone:{name}" in texts.read("commands")) == gone


def test_placeholders_are_told_from_choices():
    assert all(map(lines.is_placeholder, ["MODEL", "$PORT", "${port}", "<n>", "{name}", "N"]))
    assert not any(map(lines.is_placeholder, ["INFO", "RDMA", "./workspace", "8", "Model", "C4_"]))


def test_a_mixture_is_no_typo():
    found = explain("lmdeploy lite auto_awq --model M --calib-dataset ptb")
    assert (found.valid_from, found.valid_to) == (None, None)
    assert found.today == "lmdeploy lite auto_awq M --calib-dataset wikitext2"


# --- building -------------------------------------------------------------------------------------


def test_command():
    assert command("check_env") == ["lmdeploy", "check_env"]
    built = command("serve api_server", "m", server_port=23333, quant_policy=8, ssl=True)
    assert built[1:] == "serve api_server m --server-port 23333 --quant-policy 8 --ssl".split()
    assert command("chat", "m", tp=None, eager_mode=False) == ["lmdeploy", "chat", "m"]
    built = command("serve api_server", "m", api_keys=["a", "b"], async_=0)
    assert built[4:] == ["--api-keys", "a", "b", "--async", "0"]


@pytest.mark.parametrize(
    ("arguments", "options", "hint"),
    [
        (["chta", "m"], {}, "did you mean chat?"),
        (["convert", "n", "m"], {}, "has no command 'convert'"),
        (["chat", "m"], {"quant_polcy": 8}, "did you mean quant_policy?"),
        (["chat", "m"], {"model_name": "x"}, "chat has no option model_name"),
        (["chat", "m"], {"quant_policy": 5}, "it takes 0, 4, 8"),
        (["chat", "m"], {"tp": "two"}, "it takes int"),
        (["chat", "m"], {"tp": True}, "it takes int"),
        (["chat", "m"], {"eager_mode": "yes"}, "is a switch"),
        (["chat"], {}, "model_path"),
        (["chat", "m", "n"], {}, "unrecognized arguments: n"),
    ],
)
def test_what_command_refuses(arguments, options, hint):
    with pytest.raises(LabError, match=re.escape(hint)):
        command(*arguments, **options)


# --- the data -------------------------------------------------------------------------------------


def test_releases_are_in_order_and_rows_lie_within_them():
    known = list(history.releases())
    assert known == sorted(known, key=history.order)
    assert (known[0], known[-1]) == ("0.0.13", "0.18.0")
    for row in history.rows():
        assert known.index(row.first) <= known.index(row.last)


def test_writing_the_data_again_changes_nothing(tmp_path, monkeypatch):
    before = history.ROWS.read_text(), history.RELEASES.read_text()
    paths = tmp_path / "rows.csv", tmp_path / "releases.csv"
    style, rows = history.releases()["0.2.4"], list(history.columns("0.2.4"))
    list(history.rows())  # read before the paths change
    monkeypatch.setattr(history, "ROWS", paths[0])
    monkeypatch.setattr(history, "RELEASES", paths[1])
    derive.write({"0.2.4": (style, rows)})
    assert tuple(path.read_text() for path in paths) == before


def test_equal_rows_of_following_releases_are_joined():
    tp, ep = ["chat", "--tp", ""], ["chat", "--ep", ""]
    joined = derive.spans([("0.1.0", [tp]), ("0.2.0", [tp, ep]), ("0.3.0", [tp]), ("0.4.0", [ep])])
    assert joined == [
        ["chat", "--ep", "0.2.0", "0.2.0", ""],
        ["chat", "--ep", "0.4.0", "0.4.0", ""],
        ["chat", "--tp", "0.1.0", "0.3.0", ""],
    ]


def test_order_of_post_releases():
    mixed = ["0.7.1", "0.7.0.post3", "0.10.0", "0.7.0", "0.9.2.post1"]
    assert sorted(mixed, key=history.order) == [
        "0.7.0",
        "0.7.0.post3",
        "0.7.1",
        "0.9.2.post1",
        "0.10.0",
    ]


def test_nearest():
    assert loose.nearest("quant-polcy", ["tp", "quant-policy"]) == "quant-policy"
    assert loose.nearest("zzz", ["tp", "quant-policy"]) is None


def test_underscores_by_release():
    words = ["lite", "calibrate", "m", "--work_dir", "d"]
    accepted = [r for r in history.releases() if parse.accepts(words, r)]
    assert accepted[:3] == ["0.0.13", "0.0.14", "0.1.0"]
    assert accepted[3] == "0.9.2"

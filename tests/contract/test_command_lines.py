"""LMDeploy's command lines: history against the real parser, and every line the course prints.

The verdicts below come from the parsers of the releases themselves; those on today are compared
with the parser of the installed LMDeploy.
"""

import contextlib
import io
from pathlib import Path

import installed
import pytest
from command_lines import CLASSIC, Printed, code, markdown, printed

from labutils.commands import derive, explain, history, lines, loose, parse
from labutils.errors import LabError

WORKSPACE = "can no longer be loaded"
INT8 = "type 8 for int8"
SOURCE = [
    # The source document's command lines, all of them: line, from, to, today, a trap that it names.
    (
        "lmdeploy chat turbomind internlm/internlm-chat-20b-4bit --model-name internlm-chat-20b",
        ("0.1.0", "0.5.0"),
        "chat internlm/internlm-chat-20b-4bit",
        "no longer loads since 0.14.0",
    ),
    (
        "lmdeploy chat turbomind Qwen/Qwen-7B-Chat --model-name qwen-7b",
        ("0.1.0", "0.5.0"),
        "chat Qwen/Qwen-7B-Chat",
        "no longer loads since 0.14.0",
    ),
    (
        "lmdeploy chat turbomind /EmoLLM  --model-name internlm2-chat-7b",
        ("0.1.0", "0.5.0"),
        "chat /EmoLLM",
        "InternLM2 is supported from 0.2.0 on",
    ),
    (
        "lmdeploy convert internlm2-chat-7b /EmoLLM",
        ("0.0.13", "0.9.2.post1"),
        None,
        "lab classic lmdeploy convert",
    ),
    ("lmdeploy chat turbomind ./workspace", ("0.0.13", "0.5.0"), "chat MODEL", WORKSPACE),
    (
        "lmdeploy serve api_server ./workspace --server-name 0.0.0.0 "
        "--server-port ${server_port} --tp 1",
        ("0.0.13", "0.18.0"),
        "serve api_server MODEL --server-name 0.0.0.0 --server-port ${server_port} --tp 1",
        "silently overrides",
    ),
    (
        'lmdeploy lite calibrate \\\n  --model  /EmoLLM \\\n  --calib_dataset "c4" \\\n'
        "  --calib_samples 128 \\\n  --calib_seqlen 2048 \\\n  --work_dir ./quant_output",
        ("0.0.13", "0.1.0"),
        "lite calibrate /EmoLLM --calib-dataset c4 --calib-samples 128 --calib-seqlen 2048 "
        "--work-dir ./quant_output",
        "loops for ever",
    ),
    (
        "lmdeploy lite kv_qparams \\\n  --work_dir ./quant_output  \\\n"
        "  --turbomind_dir workspace/triton_models/weights/ \\\n  --kv_sym False \\\n  --num_tp 1",
        ("0.0.13", "0.1.0"),
        "serve api_server MODEL --quant-policy 8",
        "no calibration",
    ),
    (
        "lmdeploy lite auto_awq \\\n  --model  /EmoLLM \\\n  --w_bits 4 \\\n"
        "  --w_group_size 128 \\\n  --work_dir ./quant_output ",
        ("0.0.13", "0.1.0"),
        "lite auto_awq /EmoLLM --w-bits 4 --w-group-size 128 --work-dir ./quant_output",
        "calibrates itself",
    ),
    (
        "lmdeploy convert  internlm2-chat-7b ./quant_output \\\n    --model-format awq \\\n"
        "    --group-size 128",
        ("0.0.13", "0.9.2.post1"),
        None,
        "Nothing needs converting",
    ),
    (
        "lmdeploy convert  internlm2-chat-7b ./quant_output \\\n    --model-format awq \\\n"
        "    --group-size 128 \\\n    --dst_path ./workspace_quant",
        ("0.9.2", "0.9.2.post1"),
        None,
        "From 0.2.0 to 0.9.1 flags are refused with underscores",
    ),
]
NEVER = (None, None)
EVER = ("0.0.13", "0.18.0")
SAME = "the line itself"
OTHERS = [
    # converting
    ("convert llama-7b /path/to/llama hf", ("0.0.13", "0.1.0"), None, "--model-format"),
    ("convert --model_name m --model_path /m", ("0.0.13", "0.1.0"), None, "without its name"),
    ("convert internlm2 M --dst-path ./w --tp 2", ("0.0.13", "0.9.2.post1"), None, "gone since"),
    ("convert internlm2 M --quant-path q", ("0.0.13", "0.5.3"), None, "0.10.0"),
    ("convert internlm2 M --model-format gptq", ("0.6.0", "0.9.2.post1"), None, "0.10.0"),
    ("convert llama2 M --model-format llama", ("0.0.13", "0.7.0.post1"), None, "0.10.0"),
    ("convert llama2 M --dtype bfloat16", ("0.6.1", "0.9.2.post1"), None, "0.10.0"),
    ("convert llama2 M --trust-remote-code", ("0.4.0", "0.5.3"), None, "0.10.0"),
    # chat
    ("chat M", ("0.3.0", "0.18.0"), SAME, "Talks"),
    ("chat ./workspace", ("0.3.0", "0.18.0"), "chat MODEL", WORKSPACE),
    ("chat M --backend pytorch --tp 2", ("0.3.0", "0.18.0"), SAME, "since 0.3.0"),
    ("chat M --quant-policy 4", ("0.3.0", "0.18.0"), SAME, INT8),
    ("chat M --quant-policy int4", ("0.14.0", "0.18.0"), SAME, "since 0.14.0"),
    ("chat M --quant-policy 42", ("0.13.0", "0.18.0"), SAME, "since 0.13.0"),
    ("chat M --model-name internlm2", ("0.3.0", "0.5.3"), "chat M", "tokenizer"),
    ("chat M --trust-remote-code", ("0.13.0", "0.18.0"), SAME, "switched the trust off"),
    ("chat M --session 4096", ("0.3.0", "0.18.0"), SAME, "since 0.3.0"),
    ("chat M --session_len 4096", ("0.9.2", "0.18.0"), SAME, "with underscores"),
    ("chat M --model-format awq --dtype float16", ("0.6.1", "0.18.0"), SAME, "0.6.1"),
    ("chat torch M", ("0.0.13", "0.5.0"), "chat M --backend pytorch", "own PyTorch engine"),
    ("chat torch M --trust-remote-code", ("0.2.0", "0.5.0"), "chat M --backend pytorch", "off"),
    (
        "chat torch M --accel deepspeed --max_new_tokens 64 --top_p 0.95",
        ("0.0.13", "0.1.0"),
        "chat M --backend pytorch",
        "no --accel since 0.2.0",
    ),
    (
        "chat torch M --max_session_len 2048",
        ("0.0.13", "0.1.0"),
        "chat M --session-len 2048 --backend pytorch",
        "--max-session-len is called --session-len now",
    ),
    ("chat turbomind M --quant-policy 4", ("0.1.0", "0.5.0"), "chat M --quant-policy 8", INT8),
    ("chat turbomind M --quant-policy 4 --revision r", ("0.5.0", "0.5.0"), "policy 4", "0.5.1"),
    ("serve gradio M --quant-policy 4", ("0.1.0", "0.9.2.post1"), "--quant-policy 4", INT8),
    ("chat turbomind M --tp 2 --session_id 1", ("0.0.13", "0.1.0"), "chat M --tp 2", "session-id"),
    (
        "chat turbomind M --model-name vicuna-7b",
        ("0.1.0", "0.5.0"),
        "chat M --chat-template vicuna",
        "choose the chat template",
    ),
    ("chat turbomind M --cap completion", ("0.0.13", "0.5.0"), "chat M", "FILE.json"),
    ("chat turbomind M --backend pytorch", NEVER, "chat M --backend pytorch", "No release"),
    # serving
    (
        "serve api_server ./workspace 0.0.0.0 23333 --instance_num 32 --tp 1",
        ("0.0.13", "0.1.0"),
        "serve api_server MODEL --max-batch-size 32 --tp 1 --server-name 0.0.0.0 "
        "--server-port 23333",
        "needs its flag: --server-name",
    ),
    (
        "serve api_server ./workspace 0.0.0.0 --server_port 23333 --instance_num 32 --tp 1",
        ("0.0.13", "0.1.0"),
        "--server-name 0.0.0.0",
        "--instance-num is called --max-batch-size now",
    ),
    (
        "serve api_server Qwen/Qwen-7B-Chat qwen-7b",
        ("0.0.13", "0.1.0"),
        "serve api_server Qwen/Qwen-7B-Chat --model-name qwen-7b",
        "also chose the chat template",
    ),
    ("serve api_server ./workspace --quant-policy 4", ("0.1.0", "0.18.0"), "MODEL", INT8),
    ("serve api_server M --quant-policy 8", ("0.1.0", "0.18.0"), SAME, "accepts it"),
    ("serve api_server M --quant-policy 1", ("0.1.0", "0.3.0"), "serve api_server M", "refused"),
    ("serve api_server M --server_port 8000", ("0.9.2", "0.18.0"), SAME, "underscores"),
    ("serve api_server M --cache-max-entry-count=0.2", ("0.1.0", "0.18.0"), SAME, "free memory"),
    ("serve api_server M --model-format llama", ("0.1.0", "0.7.0.post1"), "server M", "llama"),
    ("serve api_server M --enable-metrics", ("0.9.2", "0.10.2"), "server M", "--disable-metrics"),
    (
        "serve api_server M --disable-vision-encoder",
        ("0.9.2", "0.14.0"),
        "serve api_server M --language-model-only",
        "is called",
    ),
    ("serve api_server M --qos-config-path q", ("0.2.0", "0.5.3"), "server M", "since 0.6.0"),
    ("serve api_server M --log-level REQUEST", ("0.14.0", "0.18.0"), SAME, "0.14.0"),
    ("serve api_server M --adapters a=X b=Y", ("0.3.0", "0.18.0"), SAME, "0.3.0"),
    ("serve api_server M --hf-overrides.rope.type yarn", ("0.9.2", "0.18.0"), SAME, "0.9.2"),
    ("serve gradio ./workspace", ("0.0.13", "0.9.2.post1"), "serve api_server MODEL", WORKSPACE),
    (
        "serve gradio M --server-port 6006 --share",
        ("0.5.1", "0.9.2.post1"),
        "serve api_server M --server-port 6006",
        "still prints this command",
    ),
    (
        "serve gradio http://0.0.0.0:23333 --restful_api True",
        ("0.0.13", "0.0.14"),
        None,
        "chat page",
    ),
    ("serve api_client http://localhost:23333", ("0.0.13", "0.9.2.post1"), None, "curl"),
    ("serve api_client http://h:1 --api-key K", ("0.2.2", "0.9.2.post1"), None, "curl"),
    ("serve triton_client localhost:33337", ("0.0.13", "0.5.1"), None, "since 0.5.2"),
    (
        "serve proxy --strategy random",
        ("0.6.1", "0.8.0"),
        "serve proxy --routing-strategy random",
        "is called --routing-strategy now",
    ),
    ("serve proxy --server-port 8000", ("0.6.1", "0.18.0"), SAME, "Distributes"),
    # quantizing
    ("lite calibrate M --work-dir D", EVER, SAME, "was c4 and is wikitext2 today"),
    ("lite calibrate M --calib-dataset ptb", ("0.0.13", "0.11.1"), "wikitext2", "ptb is refused"),
    (
        "lite calibrate M --calib-dataset c4 --device cpu",
        ("0.0.13", "0.5.3"),
        "lite calibrate M --calib-dataset c4",
        "no --device since 0.6.0",
    ),
    ("lite kv_qparams D W --num-tp 1", ("0.0.13", "0.5.3"), "--quant-policy 8", "ignores"),
    ("lite kv_qparams D W", ("0.0.13", "0.5.3"), "--quant-policy 8", "fails without --num-tp 1"),
    ("lite kv_qparams D W --kv-sym", ("0.0.13", "0.5.3"), "--quant-policy 8", "symmetric"),
    ("lite auto_awq M --work-dir D", EVER, SAME, "calibrates itself"),
    (
        "lite auto_awq M ./out 4 False 128",
        ("0.0.13", "0.1.0"),
        "lite auto_awq M --work-dir ./out --w-bits 4 --w-group-size 128",
        "--w-sym is a switch",
    ),
    (
        "lite auto_awq M --search-scale False",
        ("0.4.2", "0.6.2.post1"),
        "lite auto_awq M",
        "switched it on, False too",
    ),
    ("lite auto_awq M --search-scale", ("0.6.3", "0.18.0"), SAME, "0.6.3"),
    ("lite auto_awq M --device cpu", ("0.6.2", "0.18.0"), SAME, "was ptb"),
    ("lite auto_awq --model M --calib-dataset c4", NEVER, "awq M --calib-dataset c4", "No release"),
    ("lite auto_gptq M --calib-dataset wikitext2", ("0.6.0", "0.18.0"), SAME, "GPTQ"),
    ("lite smooth_quant M --quant-dtype fp8", ("0.7.0", "0.18.0"), SAME, "SmoothQuant"),
    ("lite get_small_sharded_hf A B", ("0.0.13", "0.1.0"), None, "save_pretrained"),
    # the rest
    ("list --engine pytorch", ("0.0.14", "0.2.6"), None, "since 0.3.0"),
    ("check_env", ("0.0.14", "0.18.0"), SAME, "versions"),
    ("check_env --dump_file e.json", ("0.9.2", "0.18.0"), SAME, "underscores"),
    ("--version", ("0.2.0", "0.18.0"), SAME, "help or version"),
    ("lite", EVER, SAME, "help"),
    ("chat", ("0.0.13", "0.2.6"), "lmdeploy --help", "since 0.3.0"),
    ("serve api_server", NEVER, "serve api_server MODEL", "model_path is missing"),
]
HISTORY = [*SOURCE, *((f"lmdeploy {line}", *verdict) for line, *verdict in OTHERS)]


def filled(line: str) -> list[str]:
    """The words with 0 for placeholders, which LMDeploy's own parser cannot know."""
    return ["0" if lines.is_placeholder(word) else word for word in lines.words(line)]


def test_there_are_enough():
    assert len({line for line, *_ in HISTORY}) >= 60


@pytest.mark.parametrize(("line", "span", "today", "trap"), HISTORY)
def test_history(line, span, today, trap):
    found = explain(line)
    assert (found.valid_from, found.valid_to) == span
    assert found.parses_today == (span[1] == history.today())
    if today is None:
        assert found.today is None
    else:
        assert (line if today is SAME else today) in found.today
    assert trap in " ".join(found.notes())


@pytest.mark.parametrize("line", [line for line, *_ in HISTORY])
def test_the_installed_parser_agrees(line):
    found = explain(line)
    assert installed.accepts(filled(line)) == found.parses_today
    assert found.today is None or installed.accepts(filled(found.today))
    assert len(found.notes("zh")) == len(found.notes())


def gone_or_changed() -> list[history.Argument]:
    """Rows of flags that are no longer as they were, LMDeploy's device aside.

    Where the CPU device is on, the installed parser knows another set of devices.
    """
    rows = [row for row in history.rows() if row.argument.startswith("--")]
    return [row for row in rows if row.last != history.today() and row.name != "device"]


@pytest.mark.slow
def test_every_old_flag_has_a_line_for_today():
    wrong = []
    for row in gone_or_changed():
        needed = [r for r in history.arguments(row.command, row.first) if not r.default]
        words = [*row.command.split(), *("X" for r in needed if r.argument != "**"), row.argument]
        if row.takes != "0":
            words.append(row.choices[-1] if row.choices else "1")
        assert parse.accepts(words, row.first)
        found = explain(lines.text(words))
        agrees = installed.accepts(words) == found.parses_today
        if not agrees or (found.today and not installed.accepts(filled(found.today))):
            wrong.append((words, found.today))
    assert wrong == []


def test_the_data_is_the_installed_release():
    """Every row of today's release, from the installed package's own files."""
    import lmdeploy

    folder = Path(lmdeploy.__file__).parent.parent
    style, rows = derive.read(folder)
    assert style == history.releases()[history.today()]
    assert sorted(rows) == sorted(history.columns(history.today()))


@pytest.mark.parametrize(
    "words",
    [
        "chat torch M --accel deepspeed",
        "chat torch --model-path M --use-fast-tokenizer False",
        "chat torch M --debug",
        "chat torch M --nodebug --top_p 0.5",
        "chat torch M --top-k 5",
        "chat torch",
        "lite auto_awq M",
        "lite auto_awq M D 4 --w_sym",
        "lite auto_awq M D --device=cpu",
        "lite auto_awq --work-dir D --model M",
        "lite kv_qparams D --turbomind_dir W --num-tp 1",
        "lite calibrate M c4 128 2048 D cuda more",
        "serve api_client --restful_api_url http://h:1 --session_id 3",
    ],
)
def test_fire_agrees(words):
    """The rules for releases up to 0.1.0 against the real `fire`."""
    words = words.split()
    command = parse.command_of(words, history.commands("0.1.0"))
    rest = words[len(command.split()) :]
    assert parse.accepts(words, "0.1.0") == fire_accepts(command, rest)


def fire_accepts(command: str, words: list[str]) -> bool:
    """Whether fire calls a function with the command's parameters and leaves nothing over."""
    import fire

    rows = sorted(history.arguments(command, "0.1.0"), key=lambda row: row.position)
    names = (row.argument.lstrip("-") for row in rows)
    needs = ("" if row.argument[0] != "-" else "=None" for row in rows)
    scope: dict = {}
    exec(f"def f({', '.join(map(str.__add__, names, needs))}): return ()", scope)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            fire.Fire(scope["f"], command=words)
    except fire.core.FireExit:
        return False
    return True


# --- what the course prints -----------------------------------------------------------------------


def acceptable(item: Printed) -> bool:
    """Whether one of its releases accepts it; a bare or unfinished line needs only its names."""
    words = lines.words(item.line)
    if words[-1] in ("…", "..."):
        words = words[:-1]
    elif " ".join(words) not in {n for name in history.commands() for n in (name, name.split()[0])}:
        return any(parse.accepts(words, release) for release in item.releases)
    return any(has(words, release) for release in item.releases)


def has(words: list[str], release: str) -> bool:
    """Whether the release has the command, or group, and the flags."""
    if not words:
        return True
    if len(words) == 1 and words[0] in {n.split()[0] for n in history.commands(release)}:
        return True
    try:
        reading = loose.read(words)
    except LabError:
        return False
    known = {row.name for row in history.arguments(reading.command, release)}
    return bool(known) and known >= reading.values.keys()


@pytest.mark.parametrize("item", printed(), ids=lambda item: f"{item.place} {item.line}"[:90])
def test_printed_lines_are_for_their_release(item):
    assert acceptable(item), f"{item.line!r} in {item.place} fits none of {item.releases}"


def test_lines_are_found_in_notebooks_and_documents():
    places = {item.place.split("[")[0] for item in printed()}
    assert {"README.md", "README.zh-CN.md", "notebooks/en/03_local_chat.ipynb"} <= places


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("```bash\nlmdeploy chat turbomind ./workspace\n```", False),
        ("```bash lmdeploy=0.2.4\nlmdeploy chat turbomind ./workspace\n```", True),
        ("```\n$ lmdeploy serve \\\n  api_server MODEL --server-port PORT\n```", True),
        ("Type `lmdeploy chat torch MODEL`.", False),
        ("Up to 0.5.0 it was `lmdeploy chat torch MODEL`.", True),
        ("Before 0.5.1? No: before 0.5.1 it was `lmdeploy chat torch MODEL`.", True),
        ("0.5.1 之前是 `lmdeploy chat torch MODEL`。", True),
        ("`lmdeploy chat` and `lmdeploy lite` and `lmdeploy serve api_server …`", True),
        ("`lmdeploy convert`", False),
        ("`lab classic lmdeploy convert internlm2-chat-7b MODEL`", True),
        ("`lab classic lmdeploy chat MODEL`", False),
        ("| 0.2.4 | today |\n|---|---|\n| `lmdeploy chat torch M` | `lmdeploy chat M` |", True),
        ("| today | 0.2.4 |\n|---|---|\n| `lmdeploy chat torch M` | `lmdeploy list` |", False),
        ("| 0.2.4 | what |\n|---|---|\n| new | `lmdeploy convert` |", False),
        ("| when | what |\n|---|---|\n| 0.9.2.post1 | last with `lmdeploy convert` |", True),
        ("    .venv/bin/lmdeploy chat M --no-such-flag", False),
        ("every `lmdeploy …` line", True),
    ],
)
def test_how_texts_name_a_release(text, ok):
    found = list(markdown("here", text))
    assert found
    assert all(map(acceptable, found)) == ok


@pytest.mark.parametrize(
    ("text", "lines_found", "ok"),
    [
        ('command = ["lmdeploy", "chat", model, "--session-len", "192"]', 1, True),
        ('command = ["lmdeploy", "chat", model, "--no-such-flag", "192"]', 1, False),
        ('run([f"{bin}/x", "-c", 1]); versions = ["lmdeploy 0.2.4", "lmdeploy"]', 0, True),
        ('run("lmdeploy lite auto_awq m --work_dir d")\n%time', 1, True),
        ('for old in ("lmdeploy chat turbomind ./workspace",):\n    explain(old)', 0, True),
        ("!lmdeploy convert a b", 1, False),
        ('run(["lab", "classic", "lmdeploy", "convert", name, folder])', 1, True),
    ],
)
def test_how_code_prints_lines(text, lines_found, ok):
    found = list(code("here", text))
    assert len(found) == lines_found
    assert all(map(acceptable, found)) == ok


# --- from the wheels ------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("release", [CLASSIC, "0.18.0"])
def test_rows_from_the_wheel(release):
    style, rows = derive.derive(release)
    assert style == history.releases()[release]
    assert sorted(rows) == sorted(history.columns(release))

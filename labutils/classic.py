"""The real LMDeploy 0.2.4, beside today's and apart from it.

`convert`, `kv_qparams` and `config.ini` are history since LMDeploy 0.6 and 0.10, but converted
models and tutorials that use them are still around. Set-up installs 0.2.4, unmodified, with the
few packages that must be as old as it is, into `.venv/classic`: a folder that only the processes
started here see, before the environment's own packages (which lend it torch). On a machine without
a GPU it runs through `labutils.classic_shim`, and `lite` reads its text through
`labutils/classic_path/datasets.py`.

0.2.4 has packages for Python 3.10 and 3.11 only.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from labutils import classic_models, programs
from labutils.bootstrap import CLASSIC_PYTHONS, PYTHON
from labutils.commands import history, parse
from labutils.errors import LabError
from labutils.folders import check_folder, check_room, heads, read_config
from labutils.hub import check_line
from labutils.paths import ROOT

VERSION = "0.2.4"
FOLDER = Path(sys.prefix) / "classic"
STAND_INS = Path(__file__).parent / "classic_path"


def why_not() -> str:
    """Why 0.2.4 cannot run here, as one sentence; '' if it can."""
    if PYTHON not in CLASSIC_PYTHONS:
        return (
            f"LMDeploy {VERSION} has packages for Python {' and '.join(CLASSIC_PYTHONS)} only: "
            "make run PYTHON=python3.11 sets the course up with that."
        )
    if not (FOLDER / "lmdeploy" / "version.py").is_file():
        return f"LMDeploy {VERSION} is not installed in {FOLDER}: run make run."
    return ""


def lmdeploy(*arguments: str, cwd: str | Path = ".", check: bool = True) -> str:
    """Run a command of LMDeploy 0.2.4 to its end and return what it printed.

    Args:
        arguments: what follows `lmdeploy` on its command line.
        cwd: the folder that it runs in.
        check: whether to refuse what would go wrong, see `check_convert` and `check_lite`.

    Raises:
        LabError: 0.2.4 is not here, refuses, or fails; with its own last words.
    """
    command = _prepared(arguments, Path(cwd), check)
    model = Path(cwd) / arguments[2] if arguments[:1] == ("lite",) and arguments[2:] else ""
    return programs.run(
        command,
        name=f"lmdeploy {' '.join(arguments[:1])} of {VERSION}",
        cwd=cwd,
        env=environment(),
        layers=programs.layers_of(model),
    )


def main(arguments: Sequence[str]) -> int:
    """`lab classic lmdeploy …`: the same on a terminal; the exit code of 0.2.4."""
    command = _prepared(arguments, Path.cwd(), check=True)
    return subprocess.call(command, env=environment())


def environment() -> dict[str, str]:
    """The environment variables under which Python finds 0.2.4 and nothing goes to a hub."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, STAND_INS, ROOT))),
        "PYTHONWARNINGS": "ignore",
        "LMDEPLOY_CPU": "0",  # today's CPU device knows nothing of 0.2.4
        "HF_HUB_OFFLINE": "1",
        "TQDM_MININTERVAL": "5",
    }


def _prepared(arguments: Sequence[str], cwd: Path, check: bool) -> list[str]:
    """The command to run; LabError if it cannot or should not run."""
    if reason := why_not():
        raise LabError(reason)
    if check and arguments and arguments[0] == "convert":
        check_convert(arguments[1:], cwd)
    if check and arguments and arguments[0] == "lite":
        check_lite(arguments, cwd)
    return [sys.executable, "-m", "labutils.classic_shim", *arguments]


# --- what would go wrong -------------------------------------------------------------------------


def check_lite(arguments: Sequence[str], cwd: Path = Path()) -> None:
    """Refuse a `lite` command that would calibrate with the wrong model or without end.

    Args:
        arguments: what follows `lmdeploy`. What 0.2.4 itself refuses at once is left to it.

    Raises:
        LabError: a model that 0.2.4 would misread or cannot run, no GPU where it expects one, no
            text in `cwd`, or too little of it.
    """
    try:
        asked = parse.read([*arguments], VERSION)
    except parse.Refused:
        return
    if "model" not in asked.values:  # kv_qparams reads statistics
        return
    devices = [row for row in history.arguments(asked.command, VERSION) if row.name == "device"]
    default = json.loads(devices[0].default)
    device = asked.values.get("device", [default])[0]
    classic_models.check_runs(cwd / asked.values["model"][0], device)
    check_line(arguments, VERSION, cwd)


def check_convert(arguments: Sequence[str], cwd: Path = Path()) -> None:
    """Refuse what 0.2.4's `convert` would do badly or only after it has deleted something.

    Args:
        arguments: what follows `convert`. What 0.2.4 itself refuses at once is left to it.

    Raises:
        LabError: an incomplete model, head_dim other than 128, no torch_dtype, no tokenizer, a
            destination that holds something else, too little room on the disk, or 4-bit weights
            that it would garble.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("name", nargs="?")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--dst-path", default="workspace")
    parser.add_argument("--tokenizer-path")
    parser.add_argument("--model-format")
    parser.add_argument("--group-size")
    try:
        asked, _ = parser.parse_known_args([*arguments])
    except argparse.ArgumentError:
        return
    if asked.model is None:
        return
    model, target = cwd / asked.model, cwd / asked.dst_path
    _check_model(model)
    if asked.model_format == "awq":
        from labutils import classic_awq

        classic_awq.check(model, asked.group_size)
    _check_tokenizer(model, asked.tokenizer_path and cwd / asked.tokenizer_path)
    _check_target(target, sum(f.stat().st_size for f in model.glob("*.safetensors")))


def _check_model(model: Path) -> None:
    check_folder(model)
    config = read_config(model)
    if "torch_dtype" not in config:
        raise LabError(
            f'{model}/config.json has no "torch_dtype", by which LMDeploy {VERSION} chooses the '
            'type of the weights: add "torch_dtype": "float16" to it.'
        )
    count, _, head_dim = heads(config)
    if head_dim != 128:
        raise LabError(
            f"{model} has head_dim {head_dim}, and LMDeploy {VERSION} takes every head to have 128 "
            "dimensions: it would convert the model without a word into one that talks nonsense."
        )
    if config.get("hidden_size", 128 * count) != 128 * count:
        raise LabError(
            f"{model} has {count} heads and hidden size {config['hidden_size']}; LMDeploy "
            f"{VERSION} counts its heads as hidden size / 128 and would convert it into nonsense."
        )
    classic_models.check_rope_theta(config, model)


def _check_tokenizer(model: Path, given: Path | None) -> None:
    known = [model / name for name in ("tokenizer.model", "qwen.tiktoken")]
    files = [given] if given else known
    if not any(file.is_file() for file in files):
        raise LabError(
            f"{given or model} has no tokenizer file: name one with --tokenizer-path, for example "
            f"--tokenizer-path {model / 'tokenizer.json'}."
        )


def _check_target(target: Path, weights: int) -> None:
    if target.exists() and not (target / "triton_models").is_dir():
        raise LabError(
            f"{target} exists and is no workspace, and LMDeploy {VERSION} deletes its destination "
            "before it writes: choose another one with --dst-path."
        )
    # The weights again, and some small files.
    check_room(target, 1.05 * weights, "The workspace", "choose another disk with --dst-path")

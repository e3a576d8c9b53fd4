"""What LMDeploy 0.2.4 would do badly, or only after it has deleted something: refused before.

What it refuses itself, at once, is left to it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from labutils.classic import models
from labutils.commands import history, parse
from labutils.errors import LabError
from labutils.folders import check_room, checked_config, heads
from labutils.hub import check_line

VERSION = "0.2.4"


def check_lite(arguments: Sequence[str], cwd: Path = Path()) -> None:
    """Refuse a `lite` command that would calibrate with the wrong model or without end.

    Args:
        arguments: what follows `lmdeploy`.

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
    models.check_runs(cwd / asked.values["model"][0], device)
    check_line(arguments, VERSION, cwd)


def check_convert(arguments: Sequence[str], cwd: Path = Path()) -> None:
    """Refuse what 0.2.4's `convert` would do badly or only after it has deleted something.

    Args:
        arguments: what follows `convert`.

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
        from labutils.classic import awq

        awq.check(model, asked.group_size)
    _check_tokenizer(model, asked.tokenizer_path and cwd / asked.tokenizer_path)
    _check_target(target, sum(f.stat().st_size for f in model.glob("*.safetensors")))


def _check_model(model: Path) -> None:
    config = checked_config(model)
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
    models.check_rope_theta(config, model)


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

"""The 4-bit weights of a run: made once by the real `lmdeploy lite auto_awq`, or given.

A folder that is given with `--awq` has to be the same model in 4 bits, with the same tokenizer:
otherwise its logits and answers are about something else.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.folders import checked_config, new_folder, read_config
from labutils.ladder import data
from labutils.ladder.plan import Plan
from labutils.ladder.task import Failure, Pipe, Progress, Task

FOLDER = "w4a16"
MARK = "lab-made-from.json"
SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
_SAMPLE = "The river rises: 1,024 m³ of water. 河水上涨了。"


def made_from(plan: Plan, model: str, languages: tuple[str, ...]) -> dict[str, str]:
    """What decides the weights that `work` makes.

    Args:
        model: hash of the model.
        languages: of the dialogues that they are calibrated on.
    """
    samples = f"{plan.calibration_samples} × {plan.calibration_tokens} tokens"
    return {"model": model, "dialogues": " ".join(languages), "samples": samples}


def is_made(folder: Path, of: dict[str, str]) -> bool:
    """Whether the folder holds weights that were made from this."""
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8")) == of
    except (OSError, ValueError):
        return False


def work(task: Task, pipe: Pipe) -> int:
    """Quantize the model of a task into the run's folder; the exit code."""
    pipe.send(Progress("quantize", 0.0))
    try:
        _quantize(task)
    except LabError as error:
        pipe.send(Failure("unsupported", str(error)))
        return 1
    return 0


def _quantize(task: Task) -> None:
    from labutils import awq, hub
    from labutils.device import find_device
    from labutils.lite import lite

    model, run = Path(task.model), Path(task.run)
    group_size = awq.largest_group_size(model)
    awq.check(model, group_size)
    text = hub.hub_folder(run / "calibration", data.calibration(task.languages))
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    with new_folder(run / FOLDER) as unfinished:
        lite(
            "auto_awq",
            model,
            text=text,
            work_dir=unfinished,
            w_group_size=group_size,
            calib_samples=task.plan.calibration_samples,
            calib_seqlen=task.plan.calibration_tokens,
            device=find_device().kind,
        )
        of = made_from(task.plan, task.conditions.hashes["model"], task.languages)
        (unfinished / MARK).write_text(json.dumps(of), encoding="utf-8")


# --- folders that are given ----------------------------------------------------------------------


def check_unquantized(model: Path) -> None:
    """Refuse a baseline that is quantized already."""
    if read_config(model).get("quantization_config"):
        raise LabError(
            f"{model} is quantized already: name the original model, which the rungs are compared "
            "with, and give its 4-bit weights with --awq."
        )


def check_given(folder: Path, model: Path) -> None:
    """Refuse a folder that is not this model in AWQ's 4 bits with this model's tokenizer.

    Raises:
        LabError: what it is instead.
    """
    config, original = checked_config(folder), read_config(model)
    quantized = config.get("quantization_config") or {}
    if quantized.get("quant_method") != "awq" or quantized.get("bits") != 4:
        raise LabError(
            f"{folder} holds no 4-bit weights of AWQ: make them with lmdeploy lite auto_awq, or "
            "leave out --awq and the ladder does."
        )
    both = [key for key in SHAPE if key in config and key in original]
    differing = [key for key in both if config[key] != original[key]]
    if differing:
        key = differing[0]
        raise LabError(
            f"{folder} has {key} {config[key]} and {model} {original[key]}: --awq takes the "
            "same model in 4 bits."
        )
    if _tokenizer(folder) != _tokenizer(model):
        raise LabError(
            f"{folder} has another tokenizer than {model}: quantize this model, so that both read "
            "the same tokens."
        )


def _tokenizer(folder: Path) -> tuple[dict[str, int], list[int]]:
    """A tokenizer's vocabulary, and what it makes of a sample; without torch where it can."""
    file = folder / "tokenizer.json"
    read: Any
    if file.is_file():
        from tokenizers import Tokenizer

        read = Tokenizer.from_file(str(file))
        return read.get_vocab(), read.encode(_SAMPLE, add_special_tokens=False).ids
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    return read.get_vocab(), read(_SAMPLE, add_special_tokens=False).input_ids

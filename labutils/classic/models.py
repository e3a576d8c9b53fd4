"""Model folders as LMDeploy 0.2.4 and its Transformers 4.37 read them.

Transformers 5 writes three things in a way that 4.37 does not know: the base of the rotary position
embedding (`rope_theta`), which 4.37 would take to be 10,000 without a word; the weights' type; and
the tokenizer. `old_form` makes a copy that both read alike. Left out: all architectures but Llama,
whose folders come with code for the Transformers of their time.
"""

from pathlib import Path
from typing import Any

from labutils import internlm2
from labutils.errors import LabError
from labutils.folders import MANIFEST, check_folder, checked_config, new_folder, write_json

DEFAULT_THETA = 10_000.0
"""rope_theta where a config.json gives none."""


def old_form(model: str | Path, folder: str | Path) -> Path:
    """A Llama folder in the form of early 2024; its weights are links to those of `model`.

    Args:
        model: a model folder written by Transformers 5.
        folder: the new folder; if it is there already, it is left as it is.

    Raises:
        LabError: `model` is incomplete, no Llama, or needs what Transformers 4.37 does not have.
    """
    model, folder = Path(model).resolve(), Path(folder).resolve()
    config = checked_config(model)
    if config.get("model_type") != "llama":
        raise LabError(f"{model} is no Llama model: use the folder as its authors made it.")
    if folder.exists():
        check_folder(folder)
        return folder
    new = old_config(config, model)
    with new_folder(folder) as unfinished:
        write_json(unfinished / "config.json", new)
        internlm2.write_old_tokenizer(model, unfinished)
        for file in model.iterdir():
            if file.name != MANIFEST and not (unfinished / file.name).exists():
                (unfinished / file.name).symlink_to(file)
    return folder


def old_config(config: dict[str, Any], model: Path) -> dict[str, Any]:
    """A config.json with what Transformers 4.37 looks for beside what Transformers 5 does."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise LabError(f"{model} uses {rope['rope_type']} RoPE, which LMDeploy 0.2.4 has not.")
    return config | {
        "rope_theta": config.get("rope_theta", rope.get("rope_theta", DEFAULT_THETA)),
        "torch_dtype": config.get("torch_dtype", config.get("dtype")),
    }


def check_rope_theta(config: dict[str, Any], model: Path) -> None:
    """Refuse a config.json whose rope_theta 0.2.4 would overlook."""
    theta = (config.get("rope_parameters") or {}).get("rope_theta", DEFAULT_THETA)
    if "rope_theta" not in config and theta != DEFAULT_THETA:
        raise LabError(
            f"{model}/config.json keeps rope_theta {theta:g} where LMDeploy 0.2.4 does not look, "
            f"and it would reckon with 10000: use labutils.classic.models.old_form(model, folder)."
        )


def check_runs(model: Path, device: str) -> None:
    """Refuse a model that 0.2.4's `lite` could not run, or not run right.

    Raises:
        LabError: incomplete, in the form of Transformers 5, without code, or no such device.
    """
    import torch

    config = checked_config(model)
    check_rope_theta(config, model)
    if device == "cuda" and not torch.cuda.is_available():
        raise LabError("LMDeploy 0.2.4 calibrates on a GPU unless told otherwise: --device cpu.")
    if config.get("model_type") == "internlm2" and not _has_code(config):
        raise LabError(
            f"{model} has no code to run it with, which convert can do without and lite cannot: "
            "calibrate the Llama that it was made from; the statistics are the same."
        )


def _has_code(config: dict[str, Any]) -> bool:
    return "AutoModelForCausalLM" in config.get("auto_map", {})

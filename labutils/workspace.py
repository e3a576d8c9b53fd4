"""A workspace: the folder that `lmdeploy convert` of LMDeploy 0.2.4 writes.

Its weight files have no headers, so their shapes follow from `config.ini` alone (see
`labutils.conversion`). Here a workspace is opened and checked, shown, edited, and turned back into
a Hugging Face folder, because no LMDeploy since 0.10 loads it. Left out: 4-bit workspaces, biases.
"""

import configparser
import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from labutils.bootstrap import write_atomically
from labutils.conversion import Shape, layout, rebuild
from labutils.errors import LabError
from labutils.folders import MANIFEST, read_config

KEYS = (
    "model_name tensor_para_size head_num kv_head_num vocab_size num_layer inter_size norm_eps "
    "attn_bias start_id end_id session_len weight_type rotary_embedding rope_theta size_per_head "
    "group_size max_batch_size max_context_token_num step_length cache_max_entry_count "
    "cache_block_seq_len cache_chunk_size num_tokens_per_iter max_prefill_iters "
    "extra_tokens_per_iter use_context_fmha quant_policy max_position_embeddings "
    "rope_scaling_factor use_logn_attn"
).split()
"""What 0.2.4 writes into section [llama] of config.ini."""
SHAPE_KEYS = ("tensor_para_size", "head_num", "kv_head_num", "vocab_size", "num_layer")
SHAPE_KEYS += ("inter_size", "size_per_head")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Workspace:
    """A workspace whose files are all there and as long as they should be."""

    weights: Path
    """The folder of config.ini and the weight files."""
    settings: dict[str, str]
    """Section [llama] of config.ini."""
    shape: Shape
    dtype: torch.dtype

    @property
    def tokenizer(self) -> Path:
        """The folder with the source's config.json and tokenizer."""
        return self.weights.parent / "tokenizer"

    def files(self) -> dict[str, tuple[int, ...]]:
        """Weight files and their shapes, in the order of the model."""
        return {name: where.shape for name, where in layout(self.shape).items()}

    def read(self, name: str) -> torch.Tensor:
        """One weight file as a tensor."""
        # np.fromfile: a copy in memory, so that the file may go
        stored = torch.from_numpy(np.fromfile(self.weights / name, dtype=np.int16))
        return stored.view(self.dtype).view(layout(self.shape)[name].shape)


def open_workspace(folder: Path) -> Workspace:
    """Read `config.ini` and check every weight file's length.

    Args:
        folder: the workspace, or its folder of weights.

    Raises:
        LabError: no workspace, a config.ini that cannot be understood, 4-bit weights, or a file
            that is missing or cut short.
    """
    weights = next((p for p in (folder / "triton_models/weights", folder) if _has_ini(p)), None)
    if weights is None:
        raise LabError(f"{folder} is no workspace: it has no triton_models/weights/config.ini.")
    settings = read_settings(weights / "config.ini")
    if settings["weight_type"] not in DTYPES:
        raise LabError(
            f"{folder} holds {settings['weight_type']} weights: only fp16 and bf16 workspaces can "
            "be read."
        )
    numbers = {key: int(settings[key]) for key in SHAPE_KEYS}
    found = Workspace(weights, settings, Shape(*numbers.values()), DTYPES[settings["weight_type"]])
    _check_files(found)
    return found


def _has_ini(folder: Path) -> bool:
    return (folder / "config.ini").is_file()


def read_settings(ini: Path) -> dict[str, str]:
    """Section [llama] of a config.ini.

    Raises:
        LabError: unreadable, a key that 0.2.4 does not know, or a missing or senseless number.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read(ini, encoding="utf-8")
        settings = dict(parser["llama"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise LabError(
            f"{ini} has no readable section [llama]: convert the model again."
        ) from error
    for key in settings:
        _check_key(key, str(ini))
    for key in SHAPE_KEYS:
        if not settings.get(key, "").isdecimal() or settings[key] == "0":
            raise LabError(f"{ini} gives no number for {key}: convert the model again.")
    return settings


def _check_key(key: str, where: str) -> None:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f": did you mean {near[0]}?" if near else f". Known are: {', '.join(KEYS)}."
        raise LabError(f"{where}: LMDeploy 0.2.4 knows no setting {key}{hint}")


def _check_files(workspace: Workspace) -> None:
    for name, shape in workspace.files().items():
        file = workspace.weights / name
        expected = 2 * int(np.prod(shape))
        size = file.stat().st_size if file.is_file() else None
        if size != expected:
            has = "is missing" if size is None else f"has {size:,} bytes"
            raise LabError(
                f"{file} {has} where config.ini calls for {expected:,}: convert the model again."
            )


def edit(folder: Path, **settings: float | str) -> None:
    """Change settings in a workspace's config.ini and leave every other line as it is.

    Args:
        folder: the workspace, or its folder of weights.
        settings: new values by key, for example quant_policy=4 (int8 in 0.2.4).

    Raises:
        LabError: no workspace, or a key that 0.2.4 does not know.
    """
    ini = open_workspace(folder).weights / "config.ini"
    text = ini.read_text(encoding="utf-8")
    for key, value in settings.items():
        _check_key(key, "edit")
        line = f"{key} = {value}"
        text, found = re.subn(rf"^{key}\s*[=:].*$", line, text, flags=re.MULTILINE)
        text = text if found else f"{text.rstrip()}\n{line}\n"
    write_atomically(ini, text)


def tree(folder: Path) -> Iterator[str]:
    """A workspace as lines of text: folders, links, and files with their size in bytes.

    The layers' files differ only in a number, so layer 0 stands for all of them.
    """
    yield f"{folder.name}/"
    for path in sorted(folder.rglob("*")):
        if re.match(r"layers\.[1-9]", path.name) or "__pycache__" in path.parts:
            continue
        indent = "  " * len(path.relative_to(folder).parts)
        if path.is_symlink():
            yield f"{indent}{path.name} -> {os.readlink(path)}"
        elif path.is_dir():
            yield f"{indent}{path.name}/"
        else:
            yield f"{indent + path.name:<44}{path.stat().st_size:>14,}"


def to_folder(workspace: Workspace, folder: Path) -> None:
    """Write a workspace into an empty folder as the Hugging Face model that it was made from.

    Raises:
        LabError: the model was neither an InternLM2 nor a Llama.
    """
    from safetensors.torch import save_file

    from labutils import internlm2

    config = read_config(workspace.tokenizer)
    architecture = (config.get("architectures") or ["unknown"])[0]
    tensors = rebuild(workspace.read, workspace.shape)
    if architecture == "InternLM2ForCausalLM":
        tensors = internlm2.rename(tensors, workspace.shape.kv_heads)
    elif architecture != "LlamaForCausalLM":
        raise LabError(f"A workspace of a {architecture} cannot be rebuilt: only InternLM2, Llama.")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    made_here = (MANIFEST, "placeholder", "tokenizer.py")  # the last is LMDeploy's
    for file in workspace.tokenizer.iterdir():
        if file.is_file() and file.name not in made_here:
            (folder / file.name).write_bytes(file.read_bytes())

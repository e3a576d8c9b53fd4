"""Model folders with random weights and the shape of a real model: for memory and speed only.

    lab model make-random --like internlm2-chat-7b

How much memory a model takes and how fast it runs depends on its shape, not on what it has learnt;
so a GPU machine without a network can measure "7B" with weights made on the spot. The folder says
that it talks nonsense. Its tensors have Llama's names, because InternLM2 computes what Llama
computes (`labutils.internlm2`) and every engine reads those without code from the folder; its
tokenizer is the course's own model's, and the rest of the vocabulary is padding.

Weights are normal with the deviation 0.02, those that end a residual branch with
0.02 / √(2 · layers) (Radford et al. 2019, GPT-2), so that activations stay small whatever the
depth. In 4 bits, numbers are uniform and the scale gives the same deviation. A layer is written at
a time, and the whole model never is in memory. Left out: biases, tied embeddings, experts.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from labutils.awq.folder import predicted_sizes
from labutils.errors import LabError
from labutils.folders import (
    check_room,
    heads,
    linear_layers,
    read_config,
    write_json,
    write_manifest,
)
from labutils.models import DEFAULT, get, make_folder, models_dir
from labutils.registry import INTERNLM2_7B, MODELS

NOTE = "random weights, for memory and speed only: what this model says means nothing"
DEVIATION = 0.02
GROUP_SIZE = 128
"""Of 4-bit weights: the only one that TurboMind takes."""
UNIFORM_DEVIATION = math.sqrt(sum((number - 8) ** 2 for number in range(16)) / 16)
"""Of numbers from 0 to 15 around the zero point 8."""
EIGHT_EIGHTS = 0x88888888 - 2**32
"""Eight zero points of 8 in an int32."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

KV_HEADS = "num_key_value_heads"

Tensors = dict[str, torch.Tensor]
Shape = dict[str, int]
"""The entries of a config.json that decide the size of a model."""


def make_random(
    like: str,
    folder: Path | None = None,
    *,
    quantized: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Make a folder of random weights, whole or not at all; its path.

    Args:
        like: a registry name whose shape is known, or a folder with a config.json.
        folder: the new folder; None makes LIKE-random or LIKE-random-w4a16 beside other models.
        quantized: whether linear layers are in AWQ's 4 bits, group size 128, or all in float16.
        seed: of the random numbers; a GPU makes others of it than a CPU.
        say: receives progress lines.

    Raises:
        LabError: no shape of that name, one that a Llama cannot have or 4 bits do not divide, a
            folder that exists already, or too little room on the disk.
    """
    shape = shape_of(like)
    name = f"{Path(like).name}-random{'-w4a16' if quantized else ''}"
    folder = folder or models_dir() / name
    _check(shape, quantized, folder)
    base = Path(get(DEFAULT, say))
    known = read_config(base)["vocab_size"]
    if (vocab := shape["vocab_size"]) < known:
        raise LabError(f"{like} has {vocab} tokens, the course's tokenizer has {known}.")
    needed = size(shape, quantized)
    check_room(folder, 1.02 * needed, f"{name}", "name a folder on another disk")
    say(f"making {folder} ({needed / 2**30:.2f} GiB, {NOTE}) …")

    def fill(unfinished: Path) -> None:
        generator = _generator(seed)
        _write_weights(unfinished, shape, known, quantized, generator)
        _write_config(unfinished, base, shape, quantized)
        _write_readme(unfinished, like, seed, generator.device.type)
        write_manifest(unfinished, {"source": f"{NOTE}; shape of {like}, seed {seed}"})

    make_folder(folder, fill)
    return folder


def shape_of(like: str) -> Shape:
    """The shape of a registry entry, or of the model whose config.json a folder holds.

    Raises:
        LabError: neither, or a config.json that does not say.
    """
    shapes = {model.name: model.shape for model in MODELS if model.shape}
    if like in shapes:
        return shapes[like]
    if not (Path(like) / "config.json").is_file():
        raise LabError(
            f"No shape is known for {like!r}: choose one of {', '.join(shapes)}, or a folder with "
            "a config.json."
        )
    config = read_config(Path(like))
    if lacking := [key for key in INTERNLM2_7B if key not in config and key != KV_HEADS]:
        raise LabError(f"{like}/config.json gives no {lacking[0]}: name another model.")
    return {key: config[key] for key in INTERNLM2_7B if key != KV_HEADS} | {
        KV_HEADS: heads(config)[1]
    }


def size(shape: Shape, quantized: bool) -> int:
    """Bytes of the weights: float16, or 4 bits with a scale and a zero point for each 128."""
    return sum(predicted_sizes(shape, GROUP_SIZE if quantized else None).values())


def _check(shape: Shape, quantized: bool, folder: Path) -> None:
    if folder.exists():
        raise LabError(f"{folder} exists already: delete it, or name a new folder.")
    count, kv_heads, _ = heads(shape)
    if shape["hidden_size"] % count or count % kv_heads:
        raise LabError(
            f"{count} heads ({kv_heads} for keys and values) cannot share a hidden size of "
            f"{shape['hidden_size']}: name another model."
        )
    sizes = {length for pair in linear_layers(shape).values() for length in pair}
    if quantized and (odd := sorted(length for length in sizes if length % GROUP_SIZE)):
        raise LabError(
            f"4-bit weights come in groups of {GROUP_SIZE}, which do not divide {odd[0]}: make "
            "this model without 4 bits, or name another."
        )


# --- weights ----------------------------------------------------------------------------------


def _generator(seed: int) -> torch.Generator:
    """Random numbers from the GPU where there is one: minutes become seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.Generator(device).manual_seed(seed)


def _write_weights(
    folder: Path, shape: Shape, known: int, quantized: bool, generator: torch.Generator
) -> None:
    """Write a file for each layer and one for the rest, then the index of all of them."""
    parts = [
        _layer(number, shape, quantized, generator) for number in range(shape["num_hidden_layers"])
    ]
    files, total = {}, 0
    for number, part in enumerate([*parts, _rest(shape, known, generator)], 1):
        tensors = {name: tensor.cpu() for name, tensor in part}
        file = f"model-{number:05}-of-{len(parts) + 1:05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    write_json(folder / "model.safetensors.index.json", index)


def _layer(
    number: int, shape: Shape, quantized: bool, generator: torch.Generator
) -> Iterator[tuple[str, torch.Tensor]]:
    """A decoder layer's tensors, made when they are asked for."""
    ending = DEVIATION / math.sqrt(2 * shape["num_hidden_layers"])
    for name, (out, into) in linear_layers(shape).items():
        deviation = ending if name.endswith(("o_proj", "down_proj")) else DEVIATION
        make = _four_bits if quantized else _halves
        for kind, tensor in make(out, into, deviation, generator).items():
            yield f"model.layers.{number}.{name}.{kind}", tensor
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"model.layers.{number}.{norm}.weight", torch.ones(shape["hidden_size"]).half()


def _rest(
    shape: Shape, known: int, generator: torch.Generator
) -> Iterator[tuple[str, torch.Tensor]]:
    """Embedding, last norm and output layer, whose padding has logits of 0: never the largest."""
    for name in ("model.embed_tokens", "lm_head"):
        weight = _halves(shape["vocab_size"], shape["hidden_size"], DEVIATION, generator)["weight"]
        if name == "lm_head":
            weight[known:] = 0
        yield f"{name}.weight", weight
    yield "model.norm.weight", torch.ones(shape["hidden_size"]).half()


def _halves(out: int, into: int, deviation: float, generator: torch.Generator) -> Tensors:
    """A float16 weight [out, in]."""
    empty = torch.empty(out, into, dtype=torch.float16, device=generator.device)
    return {"weight": empty.normal_(0, deviation, generator=generator)}


def _four_bits(out: int, into: int, deviation: float, generator: torch.Generator) -> Tensors:
    """The three tensors of a 4-bit weight, see `labutils.awq.numbers`."""
    shape, groups = (into, out // 8), into // GROUP_SIZE
    options = {"dtype": torch.int32, "device": generator.device}
    return {
        "qweight": torch.randint(-(2**31), 2**31, shape, generator=generator, **options),
        "qzeros": torch.full((groups, out // 8), EIGHT_EIGHTS, dtype=torch.int32),
        "scales": torch.full((groups, out), deviation / UNIFORM_DEVIATION).half(),
    }


# --- what belongs to the weights --------------------------------------------------------------


def _write_config(folder: Path, base: Path, shape: Shape, quantized: bool) -> None:
    """config.json and the tokenizer; RoPE, context and epsilon are InternLM2-chat's."""
    ids = {key: read_config(base)[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = {
        "_comment": NOTE,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **shape,
        "head_dim": heads(shape)[2],
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "max_position_embeddings": 32768,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        **ids,
    }
    if quantized:
        config["quantization_config"] = {
            "quant_method": "awq",
            "version": "gemm",
            "bits": 4,
            "group_size": GROUP_SIZE,
            "zero_point": True,
        }
    write_json(folder / "config.json", config)
    for name in TOKENIZER:
        shutil.copy(base / name, folder)


def _write_readme(folder: Path, like: str, seed: int, device: str) -> None:
    text = f"# Like {like}\n\nFor memory and speed only: {NOTE}. Seed {seed}, made on {device}.\n"
    (folder / "README.md").write_text(text, encoding="utf-8")

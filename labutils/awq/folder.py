"""A 4-bit model folder: what is in it, how many bytes each part takes, and its weights as floats.

Only the linear layers inside the decoder layers are in 4 bits. Embeddings, output layer and norms
stay in 16, which is why a model shrinks to a third rather than to a quarter: `sizes` counts a
folder's bytes by part, `predicted_sizes` says them from config.json alone.

Reads what `lite auto_awq` of LMDeploy 0.18.0 (safetensors) and of 0.2.4 (pytorch_model.bin, no
word about it in config.json) leaves. Left out: models whose tensors are not named as Llama's,
biases in `predicted_sizes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from labutils.awq.numbers import Quantized, unpack_weight
from labutils.errors import LabError
from labutils.folders import check_folder, checked_config, linear_weights

PARTS = ("embeddings", "norms", "linear layers", "4-bit numbers", "scales", "zero points")
"""What `sizes` tells apart; the output layer counts as embeddings."""
_PART_OF = {"qweight": "4-bit numbers", "scales": "scales", "qzeros": "zero points"}


@dataclass(frozen=True)
class Folder:
    """A folder of 4-bit weights."""

    path: Path
    tensors: Mapping[str, torch.Tensor]

    @property
    def linears(self) -> list[str]:
        """Names of the quantized layers, such as model.layers.0.mlp.up_proj."""
        return [name.removesuffix(".qweight") for name in self.tensors if name.endswith(".qweight")]

    def weight(self, name: str) -> Quantized:
        """The quantized weight of a layer; LabError if its tensors are damaged."""
        stored = (self.tensors.get(f"{name}.{kind}") for kind in ("qweight", "qzeros", "scales"))
        qweight, qzeros, scales = stored
        if qweight is None or qzeros is None or scales is None:
            raise LabError(f"{self.path} lacks tensors of {name}: quantize the model again.")
        return unpack_weight(qweight, qzeros, scales, name)

    def dequantized(self, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """All tensors under an unquantized model's names, in `dtype`."""
        plain = {f"{name}.weight": self.weight(name).dequantize(dtype) for name in self.linears}
        rest = {n: t for n, t in self.tensors.items() if n.rpartition(".")[2] not in _PART_OF}
        return plain | {name: tensor.to(dtype) for name, tensor in rest.items()}

    def load_dequantized(self) -> Any:
        """The same weights as a float32 model of Transformers: the reference for any engine."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(self.path)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        missing, unexpected = model.load_state_dict(self.dequantized(), strict=False)
        model.tie_weights()
        tied = set(model.all_tied_weights_keys)
        if unexpected or set(missing) - tied:
            raise LabError(f"{self.path} has other tensors than its config.json asks for.")
        return model


def open_folder(path: str | Path) -> Folder:
    """Open a folder of 4-bit weights; the files are mapped, not read.

    Raises:
        LabError: no model folder, or one whose weights are not in AWQ's 4 bits.
    """
    path = Path(path)
    quantization = checked_config(path).get("quantization_config", {})
    if quantization.get("quant_method", "awq") != "awq" or quantization.get("bits", 4) != 4:
        raise LabError(
            f"{path} is quantized with {quantization.get('quant_method')}, "
            f"{quantization.get('bits', '?')} bits: only AWQ's 4 bits can be read."
        )
    folder = Folder(path, read_tensors(path))
    if not folder.linears:
        raise LabError(
            f"{path} holds no 4-bit weights: make a folder that does with lmdeploy lite auto_awq."
        )
    return folder


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A model folder's tensors by name, mapped from its files."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        tensors |= load_file(file)
    for file in sorted(path.glob("pytorch_model*.bin")):
        tensors |= torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    return tensors


# --- bytes ---------------------------------------------------------------------------------------


def sizes(path: str | Path) -> dict[str, int]:
    """Bytes of each of PARTS in a model folder, quantized or not.

    Raises:
        LabError: no model folder.
    """
    path = Path(path)
    check_folder(path)
    counted = dict.fromkeys(PARTS, 0)
    for name, tensor in read_tensors(path).items():
        counted[_part(name, tensor)] += tensor.nbytes
    return counted


def _part(name: str, tensor: torch.Tensor) -> str:
    kind = name.rpartition(".")[2]
    if kind in _PART_OF:
        return _PART_OF[kind]
    if any(word in name for word in ("embed", "lm_head", "output.weight")):
        return "embeddings"
    return "linear layers" if tensor.dim() == 2 else "norms"


def predicted_sizes(config: Mapping[str, Any], group_size: int | None = None) -> dict[str, int]:
    """Bytes of each of PARTS of a Llama or InternLM2 of this shape.

    Each group of weights costs 4 bits a weight, 16 for its scale and 4 for its zero point.

    Args:
        config: a model's config.json.
        group_size: inputs that share a scale; None: not quantized, 16 bits.
    """
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    weights = linear_weights(config)
    copies = 1 if config.get("tie_word_embeddings", False) else 2
    parts = dict.fromkeys(PARTS, 0) | {
        "embeddings": 2 * copies * config["vocab_size"] * hidden,
        "norms": 2 * hidden * (2 * layers + 1),
    }
    if group_size is None:
        return parts | {"linear layers": 2 * weights}
    groups = weights // group_size
    return parts | {
        "4-bit numbers": weights // 2,
        "scales": 2 * groups,
        "zero points": groups // 2,
    }

"""Rounding weights to 4 bits, and the int32s that hold eight of them.

The weight of a linear layer, [out, in], is cut along `in` into groups. A group shares a scale and
a zero point, and

    weight ≈ (number − zero) · scale        numbers and zeros from 0 to 15.

On disk the matrix is transposed and eight numbers share an int32:

| tensor  | dtype                      | shape            |
|---------|----------------------------|------------------|
| qweight | int32                      | in, out / 8      |
| qzeros  | int32                      | in / group, out / 8 |
| scales  | the model's; 0.2.4 float32 | in / group, out  |

Rounding treats all weights alike; what AWQ does about that before is in `smoothing`. Left out:
packing in other widths than 4 bits, and what belongs to a whole folder.
"""

from dataclasses import dataclass

import torch

from labutils.errors import LabError

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Bits 4i to 4i + 3 of an int32 hold column ORDER[i] of its eight."""


def pack(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers from 0 to 15, integers [rows, columns], as int32 [rows, columns / 8].

    Raises:
        LabError: no integers, a number beyond 4 bits, or columns that are no multiple of 8.
    """
    if numbers.is_floating_point() or numbers.dim() != 2 or numbers.shape[1] % 8:
        raise LabError(
            f"Only integers [rows, columns] with a multiple of 8 columns can be packed, not "
            f"{_described(numbers)}: quantize first, and pad the columns."
        )
    if numbers.numel() and not 0 <= numbers.min() <= numbers.max() <= 15:
        raise LabError("4 bits hold 0 to 15, and these numbers go beyond: quantize to 4 bits.")
    eights = numbers.int().unflatten(1, (-1, 8))[..., ORDER]
    # No bit is set twice, so the sum is an or.
    return (eights << _shifts(eights)).sum(-1, dtype=torch.int32)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """int32 [rows, n] as uint8 [rows, 8 n]: the inverse of `pack`.

    Raises:
        LabError: not int32.
    """
    if packed.dtype != torch.int32 or packed.dim() != 2:
        raise LabError(
            f"Packed 4-bit numbers are int32 [rows, columns / 8], not {_described(packed)}: is "
            "this the weight of an unquantized layer?"
        )
    eights = torch.empty(*packed.shape, 8, dtype=torch.uint8, device=packed.device)
    eights[..., ORDER] = (packed[..., None] >> _shifts(packed) & 15).to(torch.uint8)
    return eights.flatten(1)


def _shifts(like: torch.Tensor) -> torch.Tensor:
    return 4 * torch.arange(8, dtype=torch.int32, device=like.device)


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


@dataclass(frozen=True)
class Quantized:
    """A linear layer's weight as numbers, zeros and scales."""

    numbers: torch.Tensor
    """uint8 [out, in]."""
    zeros: torch.Tensor
    """uint8 [out, in / group]."""
    scales: torch.Tensor
    """floating point [out, in / group], positive."""

    @property
    def group_size(self) -> int:
        """How many neighbouring inputs share a scale."""
        return self.numbers.shape[1] // self.scales.shape[1]

    def dequantize(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The weight [out, in], computed in `dtype`; None: in that of the scales."""
        scales = self.scales.to(dtype or self.scales.dtype)
        groups = self.numbers.unflatten(1, (-1, self.group_size)).to(scales.dtype)
        return ((groups - self.zeros[..., None]) * scales[..., None]).flatten(1)

    def pack(self) -> dict[str, torch.Tensor]:
        """The three tensors of a quantized folder."""
        scales = self.scales.T.contiguous()
        return {"qweight": pack(self.numbers.T), "qzeros": pack(self.zeros.T), "scales": scales}


def unpack_weight(
    qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor, name: str = "this layer"
) -> Quantized:
    """A weight from the three tensors of a quantized folder: the inverse of `Quantized.pack`.

    Args:
        qweight: int32 [in, out / 8].
        qzeros: int32 [in / group, out / 8].
        scales: floating point [in / group, out].
        name: the layer's, for the error's sentence.

    Raises:
        LabError: tensors that do not belong together, or a scale that is not above 0 and finite.
    """
    numbers, zeros = unpack(qweight).T, unpack(qzeros).T
    groups, out = scales.shape
    if numbers.shape[0] != out or zeros.shape != (out, groups) or numbers.shape[1] % groups:
        shapes = ", ".join(str(list(t.shape)) for t in (qweight, qzeros, scales))
        raise LabError(
            f"qweight, qzeros and scales of {name} do not fit together ({shapes}): quantize again."
        )
    wrong = int((~(scales.isfinite() & (scales > 0))).sum())
    if wrong:
        raise LabError(
            f"{wrong} of {scales.numel()} scales of {name} are zero, negative, infinite or no "
            "number: the file is damaged, or quantization failed; quantize again."
        )
    return Quantized(numbers, zeros, scales.T)


def quantize(
    weight: torch.Tensor, group_size: int, bits: int = 4, symmetric: bool = False
) -> Quantized:
    """Round a weight as `lite auto_awq` of LMDeploy 0.18.0 does.

    Computed in the weight's own dtype, as the tool does. Where a group reaches from a number
    ≤ 0 to one ≥ 0, as groups of weights do, no weight moves by more than half a scale.

    Args:
        weight: floating point [out, in].
        group_size: inputs that share a scale.
        bits: of each number; a folder holds 4.
        symmetric: whether the zero point is fixed in the middle. (The tool cannot: its --w-sym
            ends in a TypeError.)

    Raises:
        LabError: no finite floats [out, in], a group size that does not divide `in`, or bits
            beyond 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise LabError(f"Weights cannot be rounded to {bits} bits: choose 2 to 8.")
    groups = groups_of(weight, group_size)
    top = 2**bits - 1
    if symmetric:
        scales = groups.abs().amax(-1).clamp(min=1e-5) / (top // 2)
        zeros = torch.full_like(scales, top // 2 + 1)
    else:
        low, high = groups.amin(-1), groups.amax(-1)
        scales = (high - low).clamp(min=1e-5) / top
        zeros = (-(low / scales).round()).clamp(0, top)
    numbers = ((groups / scales[..., None]).round() + zeros[..., None]).clamp(0, top)
    return Quantized(numbers.to(torch.uint8).flatten(1), zeros.to(torch.uint8), scales)


def quantize_as_024(weight: torch.Tensor, group_size: int) -> Quantized:
    """Round a weight as `lite auto_awq` of LMDeploy 0.2.4 did, in float32.

    It rounds the distance from the smallest weight *and* that weight's own place, so that the
    two errors add up to as much as one scale, where today's release keeps to a half.

    Args:
        weight: floating point [out, in].
        group_size: inputs that share a scale.

    Raises:
        LabError: as `quantize`; also a group that 0.2.4 cannot store: all its weights alike (it
            divides by zero), or all on one side of zero (the zero point does not fit in 4 bits).
    """
    groups = groups_of(weight, group_size).float()
    low, high = groups.amin(-1), groups.amax(-1)
    scales = (high - low) / 15
    zeros = _half_away(-low / scales)
    stored = (scales > 0) & (zeros >= 0) & (zeros <= 15)
    if not stored.all():
        raise LabError(
            f"{int((~stored).sum())} groups of {group_size} weights are all alike or all on one "
            "side of zero, which LMDeploy 0.2.4 cannot store in 4 bits: use a later release."
        )
    numbers = _half_away((groups - low[..., None]) / scales[..., None])
    return Quantized(numbers.to(torch.uint8).flatten(1), zeros.to(torch.uint8), scales)


def _half_away(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer, halves away from zero (torch.round takes them to even)."""
    return x.sign() * (x.abs() + 0.5).floor()


def groups_of(weight: torch.Tensor, group_size: int) -> torch.Tensor:
    """A weight [out, in] as [out, in / group, group]; LabError for what cannot be quantized."""
    if weight.dim() != 2 or not weight.is_floating_point():
        raise LabError(
            f"Quantizing takes the floating-point weight of a linear layer, [out, in], not "
            f"{_described(weight)}: is it quantized already?"
        )
    if group_size < 1 or weight.shape[1] % group_size:
        raise LabError(
            f"Group size {group_size} does not divide {weight.shape[1]} inputs: choose a divisor."
        )
    if not weight.isfinite().all():
        raise LabError("The weight holds infinities or NaN: fetch the model again.")
    return weight.unflatten(1, (-1, group_size))

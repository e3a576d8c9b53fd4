"""W4A16: weights in 4 bits, activations in 16, the way LMDeploy's `lite auto_awq` makes them.

In reading order:

- `numbers`: rounding to 4 bits, and the int32s that hold eight of them;
- `smoothing`: which weights shall round finely, what gives AWQ its name (activation-aware);
- `folder`: a quantized model folder, its sizes, and the same weights in plain floats;
- `error`: what rounding does to each layer's output;
- `checks`: what `lmdeploy lite auto_awq` needs, looked at before it starts.
"""

from labutils.awq.checks import check, largest_group_size
from labutils.awq.error import BlockError, block_errors
from labutils.awq.folder import Folder, open_folder, predicted_sizes, sizes
from labutils.awq.numbers import (
    ORDER,
    Quantized,
    pack,
    quantize,
    quantize_as_024,
    unpack,
    unpack_weight,
)
from labutils.awq.smoothing import smoothing_scales

__all__ = [
    "ORDER",
    "BlockError",
    "Folder",
    "Quantized",
    "block_errors",
    "check",
    "largest_group_size",
    "open_folder",
    "pack",
    "predicted_sizes",
    "quantize",
    "quantize_as_024",
    "sizes",
    "smoothing_scales",
    "unpack",
    "unpack_weight",
]

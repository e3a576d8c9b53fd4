"""The six rungs of the ladder: which weights and which KV cache each of them runs.

Their order is that of the source's four steps: as it is, KV cache quantization, W4A16, both. Not
here: running a rung, or choosing one.
"""

from dataclasses import dataclass

from labutils.errors import LabError


@dataclass(frozen=True)
class Rung:
    """One configuration to try."""

    name: str
    title: str
    step: int
    """1 to 4: the source's step that it belongs to."""
    weights: str
    """'unquantized' or 'w4a16'."""
    quant_policy: int
    """LMDeploy's, for the KV cache: 0 none, 8 int8, 4 int4."""

    @property
    def order(self) -> int:
        """Its place on the ladder, from 0."""
        return RUNGS.index(self)


RUNGS = (
    Rung("baseline", "Baseline", 1, "unquantized", 0),
    Rung("kv-int8", "KV int8", 2, "unquantized", 8),
    Rung("kv-int4", "KV int4", 2, "unquantized", 4),
    Rung("w4a16", "W4A16", 3, "w4a16", 0),
    Rung("w4a16-kv-int8", "W4A16 + KV int8", 4, "w4a16", 8),
    Rung("w4a16-kv-int4", "W4A16 + KV int4", 4, "w4a16", 4),
)
BASELINE = RUNGS[0]
_BY_NAME = {rung.name: rung for rung in RUNGS}


def rung(name: str) -> Rung:
    """The rung of this name.

    Raises:
        LabError: there is none.
    """
    if name not in _BY_NAME:
        raise LabError(f"There is no rung {name!r}: choose among {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def parse(text: str) -> tuple[Rung, ...]:
    """The rungs of `--rungs`, in the ladder's order, each once.

    The baseline is always among them, because the others are compared with it.

    Args:
        text: names with commas between, or 'all'.

    Raises:
        LabError: a name is unknown, or there is none.
    """
    if text.strip() == "all":
        return RUNGS
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise LabError(f"--rungs names no rung: write all, or some of {','.join(_BY_NAME)}.")
    return tuple(sorted({BASELINE, *map(rung, names)}, key=lambda each: each.order))

"""How numba compiles this package's functions, and where it keeps the result."""

import hashlib
import sys
from pathlib import Path

import numba

FLAGS = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    # Sums in any order, so that they use vector registers; infinities and NaN keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz"},
}


def _cache_folder() -> Path:
    """A folder of the environment, another one for every state of the sources.

    numba itself looks at the file of the function alone, not at what that calls in other files.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return Path(sys.prefix) / "cache" / f"labutils-{digest.hexdigest()[:16]}"


numba.config.CACHE_DIR = str(_cache_folder())

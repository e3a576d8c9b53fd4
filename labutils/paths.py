"""Where the course keeps its files; nothing else."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"

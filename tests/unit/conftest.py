"""What tests of notebooks share."""

from pathlib import Path

import pytest
from small_course import GLOSSARY, make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A course whose only lesson keeps every rule."""
    return make(tmp_path / "notebooks")


@pytest.fixture
def glossary(tmp_path: Path) -> Path:
    """A glossary of four terms."""
    path = tmp_path / "glossary.csv"
    path.write_text(GLOSSARY, "utf-8")
    return path

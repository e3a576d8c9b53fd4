"""Leaves out the lessons that this environment cannot run, with whatever command pytest starts."""

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """A lesson that needs LMDeploy 0.2.4 is left out where that has no package."""
    if collection_path.suffix != ".ipynb":
        return None
    from labutils import course, notebooks

    return True if course.why_not(notebooks.read(collection_path)) else None

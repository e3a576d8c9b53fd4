"""Stands in for the `datasets` library where LMDeploy 0.2.4 runs.

0.2.4 needs numpy 1, and no `datasets` that works with it can share its other packages with today's
LMDeploy. Besides, 0.2.4 asks for c4 with an option that `datasets` has dropped, and for ptb in a
form that it no longer loads. So this reads what `labutils.hub.hub_folder` has written to the
current folder. LMDeploy's own readers, unchanged, take their samples from it.

Only LMDeploy 0.2.4 sees this folder (`labutils.classic`). One text serves all splits: 0.2.4 also
reads a test or validation split, and uses it for nothing.
"""

from pathlib import Path
from typing import Any

from labutils.hub import DATA_SETS, rows


class Rows(list):
    """A list of rows that, like a Dataset, gives a column by its name."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return [row[key] for row in self]
        return super().__getitem__(key)


def load_dataset(path: str, *args: Any, **kwargs: Any) -> Rows:
    """The rows of one of the data sets in `labutils.hub.DATA_SETS`, from the current folder."""
    known = {data_set.folder: data_set for data_set in DATA_SETS.values()}
    if path not in known:
        raise SystemExit(f"LMDeploy 0.2.4 can calibrate with {', '.join(DATA_SETS)} here.")
    return Rows(rows(Path(), known[path]))

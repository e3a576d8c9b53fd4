"""A release's commands and flags, read from its wheel; how the data on them is made and extended.

Nothing of LMDeploy gets installed: a bare Python (no site-packages) lets the release build its own
parser, with mocks in place of everything heavy (`_parser_of_wheel.py`). This works for releases
that use argparse (from 0.2.0 on) and for the `fire` classes before.

    python -m labutils.commands.derive 0.18.0            # the rows of a release, from its wheel
    python -m labutils.commands.derive 0.19.0 --write    # put them in data/
"""

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from labutils.bootstrap import write_atomically
from labutils.commands import history
from labutils.errors import LabError

PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
COLUMNS = "command,argument,first,last,position,takes,type,choices,default".split(",")

Rows = list[list[str]]


def main(arguments: list[str] | None = None) -> None:
    """Print the rows of releases, or write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("releases", nargs="+", metavar="RELEASE")
    parser.add_argument("--write", action="store_true", help="put the rows in data/")
    args = parser.parse_args(arguments)
    found = {release: derive(release) for release in args.releases}
    if args.write:
        write(found)
        return
    for _, rows in found.values():
        csv.writer(sys.stdout).writerows(rows)


def derive(release: str) -> tuple[str, Rows]:
    """(parser style, rows) of a release; its wheel comes by pip and goes again."""
    with tempfile.TemporaryDirectory(prefix="lab-derive-") as folder:
        return read(_unpack(_download(release, Path(folder))))


def _download(release: str, folder: Path) -> Path:
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.10"]
    command = [sys.executable, "-m", "pip", "download", *options, *platforms, "--dest", str(folder)]
    done = subprocess.run([*command, f"lmdeploy=={release}"], capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"pip cannot fetch lmdeploy {release}: check the number and the network.")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path) -> Path:
    folder = wheel.with_suffix("")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".py")])
    return folder


def read(folder: Path) -> tuple[str, Rows]:
    """(parser style, rows) of the LMDeploy in `folder`; rows as in `history.columns`.

    0.3.0 to 0.5.0 build another parser when the line begins `chat torch` or `chat turbomind`.
    """
    styles, rows = zip(*(_build(folder, "chat", word) for word in ("MODEL", "torch")), strict=True)
    return styles[0], list(map(list, dict.fromkeys(rows[0] + rows[1])))


def _build(folder: Path, *words: str) -> tuple[str, list[tuple[str, ...]]]:
    script = Path(__file__).with_name("_parser_of_wheel.py")
    bare = [sys.executable, "-I", "-S", str(script), str(folder), *words]
    done = subprocess.run(bare, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return found["parser"], [tuple(map(str, row)) for row in found["rows"]]


def write(found: dict[str, tuple[str, Rows]]) -> None:
    """Put releases in the data files, in place of what is there on them."""
    known = {r: (p, list(history.columns(r))) for r, p in history.releases().items()}
    known |= found
    ordered = {release: known[release] for release in sorted(known, key=history.order)}
    _save(history.RELEASES, ["release", "parser"], [[r, p] for r, (p, _) in ordered.items()])
    _save(history.ROWS, COLUMNS, spans((r, rows) for r, (_, rows) in ordered.items()))


def spans(releases: Iterable[tuple[str, Rows]]) -> Rows:
    """Equal rows of consecutive releases joined into one with its first and last release."""
    closed, running = [], {}
    for release, rows in releases:
        going_on = {}
        for key in map(tuple, rows):
            first = running.pop(key, (release,))[0]
            going_on[key] = (first, release)
        closed += running.items()
        running = going_on
    joined = [[*key[:2], *span, *key[2:]] for key, span in [*closed, *running.items()]]
    return sorted(joined, key=_sorting)


def _sorting(row: list[str]) -> tuple:
    command, argument, first, _, position = row[:5]
    return (
        command,
        argument.startswith("--"),
        history.plain(argument),
        position,
        history.order(first),
    )


def _save(path: Path, header: list[str], rows: Rows) -> None:
    """Write a CSV file; it is there whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue())


if __name__ == "__main__":
    main()

"""What a run is asked for, looked at before anything is written, and what follows from it.

Conditions are read here, too: they say whether a rung that was measured still counts.
"""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from labutils.errors import LabError
from labutils.ladder import conditions, data, weights
from labutils.ladder.plan import FULL, QUICK, Plan
from labutils.ladder.results import Conditions
from labutils.ladder.rungs import BASELINE, Rung, parse
from labutils.models import model_path
from labutils.registry import MODELS


@dataclass(frozen=True)
class Request:
    """What to measure, checked."""

    model: Path
    files: tuple[Path, ...]
    languages: tuple[str, ...]
    rungs: tuple[Rung, ...]
    plan: Plan
    out: Path
    awq: Path | None
    command: str

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of model, items and texts."""
        model = conditions.hash_folder(self.model, self.out / "hashes.json")
        return {"model": model, **data.hashes(self.files, self.languages)}

    @cached_property
    def machine(self) -> dict[str, str]:
        """On which it is measured; asked once, because the driver's tool takes its time."""
        return conditions.machine()

    @property
    def quantized(self) -> Path:
        """The folder of the 4-bit weights, made or not."""
        return self.awq or self.out / weights.FOLDER

    def file(self, rung: Rung) -> Path:
        """Where the rung's result is kept."""
        return self.out / "rungs" / f"{rung.name}.json"

    @property
    def has_weights(self) -> bool:
        """Whether the 4-bit weights are there, made from this model for this plan."""
        if self.awq:
            return True
        of = weights.made_from(self.plan, self.hashes["model"], self.languages)
        return weights.is_made(self.quantized, of)

    def conditions(self, rung: Rung, compared: bool) -> Conditions:
        """Under which a rung is measured today.

        Args:
            compared: whether there is a baseline to compare it with.
        """
        hashes = dict(self.hashes)
        if rung.weights == "w4a16":
            cache = self.out / "hashes.json"
            made = self.has_weights
            hashes["w4a16"] = conditions.hash_folder(self.quantized, cache) if made else "not made"
        against = "itself" if rung is BASELINE else "the baseline" if compared else "nothing"
        return conditions.collect(self.plan, hashes, self.machine, compared=against)


def checked(
    model: str | None,
    asked: str | None,
    out: str | Path,
    rungs: str,
    quick: bool = False,
    awq: str | Path | None = None,
    plan: Plan | None = None,
) -> Request:
    """What `runner.run` is asked for; LabError if it is not there or not as it should be."""
    wanted, plan = parse(rungs), plan or (QUICK if quick else FULL)
    folder = Path(model_path(model))
    weights.check_unquantized(folder)
    asked = asked or _languages_of(folder)
    files = tuple(file.resolve() for file in data.files(asked))
    languages = data.languages(data.items(files))
    if awq is not None:
        awq = Path(awq).resolve()
        weights.check_given(awq, folder)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise LabError(f"{out} is a file: name a folder for the run.")
    options = ["--model", model or folder.name, "--data", asked, "--rungs", rungs]
    options += ["--quick"] * quick + (["--awq", str(awq)] if awq else []) + ["--out", str(out)]
    command = shlex.join(["lab", "ladder", "run", *map(_for_others, options)])
    return Request(folder, files, languages, wanted, plan, out.resolve(), awq, command)


def _for_others(option: str) -> str:
    """An option as a result keeps it: of an absolute path, which others do not have, the name."""
    return Path(option).name if option.startswith("/") else option


def _languages_of(model: Path) -> str:
    """The items for a model whose registry entry says that it knows Chinese, or does not."""
    known = {entry.name: entry.chinese for entry in MODELS}
    return "en,zh" if known.get(model.name, False) else "en"

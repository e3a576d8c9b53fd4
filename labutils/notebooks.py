"""The two editions of the course: read, tidy and keep them in step.

English is the source. A lesson's Chinese twin has the same code cells, outputs and tags byte for
byte and its own prose, paired by cell id. Each Chinese prose cell remembers, in its metadata
`lab`, which English text it translates (`source_sha`) and what it said when last synced
(`text_sha`); that is how a stale translation is noticed.

Not here: running notebooks (`execution`), the course's site (`course`), the rules a lesson must
keep (`notebook_checks`).
"""

import copy
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.paths import NOTEBOOKS

ENGLISH, CHINESE = EDITIONS = ("en", "zh")

METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"},
}
_NOISY_CELL_KEYS = ("execution", "ExecuteTime", "collapsed", "scrolled", "vscode")
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def lessons(names: Sequence[str] = (), *, root: Path = NOTEBOOKS) -> list[str]:
    """Stems of the English lessons in course order, those of `names` only ('3', '03', '03_chat').

    Raises:
        LabError: no lesson answers to one of the names, or there are no lessons at all.
    """
    stems = sorted(path.stem for path in (root / ENGLISH).glob("*.ipynb"))
    if not stems:
        raise LabError(f"{root / ENGLISH} holds no notebooks: run this in a clone of the course.")
    for name in names:
        if not any(_answers(stem, name) for stem in stems):
            raise LabError(f"No lesson is called {name!r}; choose from: {', '.join(stems)}.")
    return [stem for stem in stems if not names or any(_answers(stem, name) for name in names)]


def _answers(stem: str, name: str) -> bool:
    name = Path(name).name.removesuffix(".ipynb")
    return stem == name or stem.split("_")[0] == name.zfill(2)


def read(path: Path) -> NotebookNode:
    """Read a notebook as nbformat 4.5, so that every cell has an id.

    Raises:
        LabError: the file is no valid notebook, or two of its cells share an id.
    """
    try:
        notebook = nbformat.convert(nbformat.reader.reads(path.read_text("utf-8")), 4)
        notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
        _refuse_shared_ids(notebook, path)
        _, notebook = nbformat.validator.normalize(notebook)
        nbformat.validate(notebook)
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise LabError(f"{path} is not a valid notebook ({reason}): mend or restore it.") from error
    return notebook


def _refuse_shared_ids(notebook: NotebookNode, path: Path) -> None:
    ids = Counter(cell.id for cell in notebook.cells if "id" in cell)
    if shared := [cell_id for cell_id, count in ids.items() if count > 1]:
        raise LabError(f"{path} has two cells with the id {shared[0]!r}: give one a new id.")


def normalize(notebook: NotebookNode) -> NotebookNode:
    """A copy without what differs from one machine or editor to the next.

    Tags and nbgrader's metadata stay. Widgets keep only their text, because their state names
    models by random ids, and a saved view without its state shows as an error; progress bars go.
    """
    tidy = copy.deepcopy(notebook)
    tidy.metadata = nbformat.from_dict(METADATA)
    for cell in tidy.cells:
        for key in _NOISY_CELL_KEYS:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress_bar(output)]
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(_WIDGET_VIEW, None)
    return tidy


def _is_progress_bar(output: NotebookNode) -> bool:
    """A tqdm widget: its text says where the bar began, which would be recorded for ever."""
    data = output.get("data", {})
    return _WIDGET_VIEW in data and "%|" in "".join(data.get("text/plain", ""))


def dumps(notebook: NotebookNode) -> str:
    """The one text a notebook is stored as: indent 1, sorted keys, real characters."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def write(notebook: NotebookNode, path: Path) -> bool:
    """Store a notebook atomically, and only when the file would change; True if it did."""
    text = dumps(notebook)
    if path.exists() and path.read_text("utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return True


def sync(*, accept: Collection[str] = (), root: Path = NOTEBOOKS) -> list[Path]:
    """Bring the Chinese edition in step with the English one; the files that changed.

    A Chinese cell that was edited since the last sync counts as translating today's English. Name
    a cell in `accept` ('03_chat:cell-id') when its translation holds although neither changed, or
    when it shall read the same in both languages.

    Raises:
        LabError: an unreadable notebook, or a name in `accept` that no prose cell has.
    """
    pending: list[tuple[NotebookNode, Path]] = []
    known: set[str] = set()
    for stem in lessons(root=root):
        english, chinese = (root / edition / f"{stem}.ipynb" for edition in EDITIONS)
        source = normalize(read(english))
        twin = read(chinese) if chinese.exists() else None
        ids = {cell.id for cell in source.cells if f"{stem}:{cell.id}" in accept}
        known |= {f"{stem}:{cell_id}" for cell_id in ids}
        pending += [(source, english), (merge(source, twin, accept=ids), chinese)]
    if unknown := sorted(set(accept) - known):
        raise LabError(f"No cell is called {unknown[0]!r}: write LESSON:CELL-ID as `check` does.")
    return [path for notebook, path in pending if write(notebook, path)]


def merge(
    english: NotebookNode, chinese: NotebookNode | None, *, accept: Collection[str] = ()
) -> NotebookNode:
    """The Chinese edition that belongs to `english`, with the prose that `chinese` has."""
    twins = {cell.id: cell for cell in chinese.cells} if chinese else {}
    merged = copy.deepcopy(english)
    for cell in merged.cells:
        if cell.cell_type == "markdown":
            twin = twins.get(cell.id)
            is_prose = twin is not None and twin.cell_type == "markdown"
            _translate(cell, twin if is_prose else None, accepted=cell.id in accept)
    return merged


def _translate(cell: NotebookNode, twin: NotebookNode | None, *, accepted: bool) -> None:
    """Turn an English prose cell into its Chinese twin, in place."""
    english = cell.source
    state = twin.metadata.get("lab", {}) if twin else {}
    edited = twin is not None and digest(twin.source) != state.get("text_sha")
    # What read the same in English (not translated yet, or just a formula) follows the English.
    own_words = edited or state.get("text_sha") != state.get("source_sha")
    if own_words:
        cell.source = twin.source
        if "attachments" in twin:
            cell.attachments = twin.attachments
    holds = edited or accepted or not own_words
    settled = "untranslated" not in state and state.get("source_sha") == digest(english)
    lab = {
        "source_sha": digest(english) if holds else state["source_sha"],
        "text_sha": digest(cell.source),
    }
    if cell.source == english and has_words(english) and not (accepted or (settled and not edited)):
        lab["untranslated"] = True
    cell.metadata.lab = NotebookNode(lab)


def digest(text: str) -> str:
    """A short fingerprint of a cell's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_NOT_PROSE = re.compile(
    r"^(```|~~~).*?^\1|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|<[^>]+>|(?<=\])\([^)]*\)|https?://\S+",
    re.DOTALL | re.MULTILINE,
)


def prose(markdown: str) -> str:
    """The words of a Markdown text: without code, formulas, tags and addresses."""
    return _NOT_PROSE.sub(" ", markdown)


def has_words(markdown: str) -> bool:
    """Whether there is something to translate: two words beside code and formulas."""
    return len(re.findall(r"[A-Za-z]{2,}", prose(markdown))) >= 2

"""What grading found: points and a comment for each test of each submission, as JSON files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mark:
    """One test's points; the comment says why they are not all there, or ''."""

    grade_id: str
    points: float
    max_points: float
    comment: str = ""
    by_hand: bool = False


@dataclass(frozen=True)
class Marks:
    """One student's marks in one lesson."""

    student: str
    lesson: str
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    """About the submission as a whole."""
    timestamp: str = ""
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """Points reached."""
        return sum(mark.points for mark in self.marks)

    @property
    def looked_at(self) -> bool:
        """Whether there was work to judge: each mark has points then, or says why not."""
        return any(mark.points or mark.comment for mark in self.marks)

    @property
    def reason(self) -> str:
        """Why points are missing and what else is to be known, in one line; '' if nothing."""
        missing = [f"{mark.grade_id}: {mark.comment}" for mark in self.marks if mark.comment]
        return "; ".join((*self.notes, *missing))


def write(path: Path, marks: Marks) -> None:
    """Store marks for the process that collects them."""
    path.write_text(json.dumps(asdict(marks)), "utf-8")


def read(path: Path) -> Marks:
    """Marks that `write` stored."""
    fields = json.loads(path.read_text("utf-8"))
    marks = tuple(Mark(**each) for each in fields.pop("marks"))
    return Marks(**fields | {"marks": marks, "notes": tuple(fields["notes"])})

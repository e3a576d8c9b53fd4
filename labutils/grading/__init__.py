"""Grade what students handed in, without an engine and without trusting their code.

    SUBMISSIONS/STUDENT/**/LESSON.ipynb, results of the ladder beside it (**/*.json)

`grade` finds the work (`submissions`), lets a process for each lesson mark it (`examiner`,
`examine`), looks at results for what is odd (`results_check`), and writes the table (`gradebook`)
and a page a student (`feedback`). How students' code is kept apart: `sandbox`.
"""

from labutils.grading.grade import grade

__all__ = ["grade"]

"""Which section of the troubleshooting page belongs to a message of `lab`.

The page is `notebooks/EDITION/guides/troubleshooting.md`; its first sections are called like the
checks of `lab doctor`. Not here: the messages themselves, which say what to do without the page.
"""

import re

PAGE = "notebooks/en/guides/troubleshooting.md"
SECTIONS = {
    "ports": r"^Port \d+ .*is taken",
    "server": r"^The server (ended|did not answer)",
    "memory": r"of free memory|out of memory",
    "disk": r"GB free: make|^The disk of",
    "python": r"has packages for Python",
    "device": r"asks for a GPU, but",
    "model": r"no model or folder|truncated or altered|is not on this machine|no chat template",
    "commands": r"^lmdeploy .* never had(?!.*did you mean)|^There is no lmdeploy|refuses lmdeploy",
    "grading": r"run only isolated",
}
"""What the messages of a section have in common, by its heading."""


def pointer(message: str) -> str:
    """' See PAGE, "section".' for a message of `LabError`, or '' if no section belongs to it."""
    found = next((name for name, words in SECTIONS.items() if re.search(words, message)), "")
    return f' See {PAGE}, "{found}".' if found else ""

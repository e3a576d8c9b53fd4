"""LMDeploy's command line: build one for today, explain one of any release from 0.0.13 on.

`labutils.commands.history` holds the data, `parse` reads a line as a release would, `today` says
what took the place of what is gone, `derive` reads a release's commands from its wheel. Nothing
here imports LMDeploy, which takes seconds.
"""

from labutils.commands.build import command
from labutils.commands.explain import Explanation, explain

__all__ = ["Explanation", "command", "explain"]

"""Today's `lmdeploy lite …`, run to its end with a text of ours.

    text = hub_folder(BUILD / "text", corpus.python_topics())
    lite("calibrate", model, text=text, calib_samples=8, calib_seqlen=512, work_dir="stats")
    lite("auto_awq", model, text=text, calib_dataset="c4", work_dir="model-4bit")

What `labutils.classic` is for LMDeploy 0.2.4. Left out: commands that need no text.
"""

import os
import sys
from pathlib import Path
from typing import Any

from labutils import hub, programs
from labutils.commands import build
from labutils.folders import check_folder


def lite(
    name: str,
    model: str | Path,
    *,
    text: str | Path | None,
    work_dir: str | Path,
    **options: Any,
) -> str:
    """Run `lmdeploy lite NAME MODEL …` of the installed LMDeploy and return what it printed.

    Args:
        name: 'calibrate', 'auto_awq', …
        model: model folder.
        text: a folder that `labutils.hub.hub_folder` has written; None leaves LMDeploy to the
            hub's own data sets, which needs a network.
        work_dir: where LMDeploy writes its results.
        options: further options of the command, such as calib_dataset or calib_seqlen.

    Raises:
        LabError: an incomplete model, too little text, no such option, or LMDeploy failed.
    """
    check_folder(Path(model))
    where = {"work_dir": Path(work_dir).resolve()}  # it runs elsewhere
    line = build.command(f"lite {name}", Path(model).resolve(), **where, **options)
    if text is not None:
        hub.check_line(line[1:], build.installed(), Path(text))
    program = str(Path(sys.executable).with_name(line[0]))
    return programs.run(
        [program, *line[1:]],
        name=f"lmdeploy lite {name}",
        cwd=text or Path.cwd(),
        env=os.environ if text is None else offline(Path(text)),
        layers=programs.layers_of(model),
    )


def offline(text: Path) -> dict[str, str]:
    """The environment variables under which nothing goes to a hub.

    What the `datasets` library makes of the text stays in the text's folder: in the user's own
    cache, it would later pass for the real data set.
    """
    cache = text.resolve() / ".cache"
    return os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache)}

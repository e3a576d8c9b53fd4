"""`lab bench gpu` from end to end on the machine that there is: real engines, and one that dies."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import RANDOM

from labutils.random_model import make_random


@pytest.mark.slow
def test_a_run_with_an_engine_that_fails(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(RANDOM))
    model = make_random(str(tmp_path), tmp_path / "model")
    broken = shutil.copytree(model, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text()) | {"architectures": ["NoSuchModel"]}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "lab-manifest.json").unlink()
    command = [sys.executable, "-m", "labutils.cli", "bench", "gpu", "--model", "./model"]
    command += ["--w4a16", "./broken", "--batch", "1", "2", "--prompt", "16", "--decode", "4"]
    done = subprocess.run(
        [*command, "--out", "out.json"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["command"].startswith("lab bench gpu --model model --w4a16 broken --kv none")
    good, bad = found["runs"]
    assert [load["batch"] for load in good["loads"]] == [1, 2]
    assert all(load["new_tokens"] == 5 and load["decode_tok_s"] > 0 for load in good["loads"])
    assert bad["status"] == "failed" and "NoSuchModel" in bad["message"]
    assert "NoSuchModel" in done.stdout

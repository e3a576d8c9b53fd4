"""The ladder as a student runs it: all rungs of the course's own model, quickly and in full."""

import json
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ["baseline", "kv-int8", "kv-int4", "w4a16", "w4a16-kv-int8", "w4a16-kv-int4"]


def ladder(bin_dir: Path, out: Path, *options: str) -> tuple[dict, float]:
    """The summary that `lab ladder run` prints, and the seconds that it took."""
    start = time.monotonic()
    words = ["ladder", "run", "--json", "--out", str(out), *options]
    said = subprocess.run([bin_dir / "lab", *words], capture_output=True, text=True, check=True)
    return json.loads(said.stdout), time.monotonic() - start


@pytest.mark.soak
@pytest.mark.parametrize("options", [["--quick"], []], ids=["quick", "full"])
def test_every_rung_runs_and_a_repeat_takes_seconds(bin_dir, tmp_path, capsys, options):
    told, first = ladder(bin_dir, tmp_path / "run", *options)
    again, repeat = ladder(bin_dir, tmp_path / "run", *options)
    assert again == told
    assert repeat < 10
    with capsys.disabled():
        print(f"\nladder {options}: {first:.0f} s, again {repeat:.1f} s (measured here)")
    assert [(rung["name"], rung["status"]) for rung in told["rungs"]] == [(n, "ok") for n in NAMES]
    quality = {rung["name"]: rung["quality"] for rung in told["rungs"]}
    kl = {name: found["kl_mean"]["value"] for name, found in quality.items() if found["kl_mean"]}
    assert kl["kv-int8"] < kl["kv-int4"]
    assert kl["kv-int8"] < kl["w4a16"] < kl["w4a16-kv-int4"]
    memory = {rung["name"]: rung["memory"] for rung in told["rungs"]}
    assert memory["w4a16"]["weights"]["value"] < 0.5 * memory["baseline"]["weights"]["value"]
    assert told["decision"]["outcome"] in ("quantize", "go back", "cannot tell", "no gain")
    assert (tmp_path / "run" / "report.html").is_file()

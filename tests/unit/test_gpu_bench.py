"""What `lab bench gpu` makes of timings, traces and logs, and the results that are committed."""

import json
import re
from pathlib import Path

import pytest
from tiny import RANDOM

from labutils import cli, model_path, provenance
from labutils.errors import LabError
from labutils.gpu import bench, pair
from labutils.gpu.trace import summary, union
from labutils.paths import DATA
from labutils.random_model import make_random

RESULTS = sorted((DATA / "results").glob("*/gpu-bench-*.json"))


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0.0),
        ([(0, 2), (5, 6)], 3.0),
        ([(0, 4), (1, 2), (3, 6)], 6.0),
        ([(0, 1), (1, 2)], 2.0),
    ],
)
def test_overlapping_kernels_count_once(spans, length):
    assert union(spans) == length


def event(name: str, cat: str, ts: float, dur: float) -> dict:
    return {"ph": "X", "name": name, "cat": cat, "ts": ts, "dur": dur}


def test_a_trace_becomes_a_step():
    """Two steps of two kernels; microseconds in, milliseconds a step out."""
    events = [
        event("gemm", "kernel", 0, 3000),
        event("norm", "kernel", 3500, 500),
        event("gemm", "kernel", 5000, 3000),
        event("Memset", "gpu_memset", 9000, 1000),
        event("cudaLaunchKernel", "cuda_runtime", 0, 400),
        event("cuLaunchKernelEx", "cuda_driver", 10, 200),
        event("cudaStreamSynchronize", "cuda_runtime", 10, 9000),
        {"ph": "M", "name": "process_name"},
    ]
    step = summary(events, 2)
    assert (step["traced_ms"], step["busy_ms"], step["launch_ms"]) == (5.0, 3.75, 0.3)
    assert step["kernels"] == 2.0
    assert step["longest"][0] == {"name": "gemm", "calls": 1.0, "ms": 3.0}


def test_a_trace_without_a_gpu_is_no_crash():
    step = summary([event("cpu_op", "cpu_op", 0, 5)], 1)
    assert (step["busy_ms"], step["launch_ms"], step["longest"]) == (0.0, None, [])


def test_shares_of_the_limits(tmp_path):
    """By hand, for a shape whose numbers are round."""
    config = RANDOM | {"vocab_size": 49152}
    (tmp_path / "config.json").write_text(json.dumps(config))
    folder = str(make_random(str(tmp_path), tmp_path / "made"))
    linear = 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 384)
    embedding = 49152 * 256
    load = {"batch": 4, "prompt_tokens": 100, "new_tokens": 50}
    load |= {"decode_tok_s": 10.0, "prefill_tok_s": 20.0}
    limits = {"copy_bandwidth": {"rate": 1e9}, "matrix_rate": {"rate": 1e12}}
    found = bench.shares(load, folder, 8, limits)
    moved = bench.weight_bytes(folder) - 2 * embedding + 4 * 125 * 2 * 2 * (128 + 4)
    assert found["decode_limited_by"] == "memory"
    assert found["decode_limit_tok_s"] == pytest.approx(4 / (moved / 1e9), rel=1e-3)
    assert found["prefill_limit_tok_s"] == pytest.approx(1e12 / (2 * linear), rel=1e-3)
    slow = {"copy_bandwidth": {"rate": 1e15}, "matrix_rate": {"rate": 1e9}}
    found = bench.shares(load, folder, 8, slow)
    assert found["decode_limited_by"] == "arithmetic"
    assert found["decode_limit_tok_s"] == pytest.approx(1e9 / (2 * (linear + embedding)), rel=0.01)


def test_two_gpus_share_the_time():
    """Twice the bandwidth and twice the arithmetic, so half the time at best."""
    folder = {"batch": 1, "prompt_tokens": 1, "new_tokens": 1}
    load = folder | {"decode_tok_s": 10.0, "prefill_tok_s": 20.0}
    limits = {"copy_bandwidth": {"rate": 1e9}, "matrix_rate": {"rate": 1e12}}
    one, two = (bench.shares(load, model_path(), 0, limits, tp) for tp in (1, 2))
    for name in ("decode_limit_tok_s", "prefill_limit_tok_s"):
        assert two[name] == pytest.approx(2 * one[name], rel=1e-3)


def test_a_run_names_what_is_not_the_default():
    run = {"folder": "m", "weights": "w4a16", "kv": "int8", "cap_gib": 8.0, "share": 0.5}
    run |= {"status": "failed", "message": "out of memory"}
    assert list(bench.lines(run))[0] == "w4a16  KV int8  8 GiB    share 0.5 failed"
    more = list(bench.lines(run | {"tp": 2, "prefill": 512}))
    assert more[0] == "w4a16  KV int8  8 GiB    share 0.5 tp 2 prefill 512 failed"


def test_something_has_to_be_measured():
    with pytest.raises(LabError, match="--w4a16"):
        bench.main(cli.parser().parse_args(["bench", "gpu"]))


def test_there_are_results():
    assert RESULTS


ANY_RESULTS = sorted((DATA / "results").glob("*/*.json"))
OTHER_RESULTS = [path for path in ANY_RESULTS if path not in RESULTS and path.stem != "doctor"]


@pytest.mark.parametrize("path", OTHER_RESULTS, ids=lambda path: path.stem)
def test_the_other_results_say_where_they_come_from_too(path: Path):
    found = json.loads(path.read_text("utf-8"))
    assert found["format"].startswith("lmdeploy-lab ") and found["origin"] == "measured"
    for key in ("date", "command", "versions", "machine", "hashes"):
        assert found[key], key
    assert path.parent.name == provenance.slug(found["machine"]["name"])
    assert not re.search(r'"/|[ =]/\w', path.read_text("utf-8")), "no path of a machine"


def test_a_pair_of_gpus_needs_two():
    args = cli.parser().parse_args(["bench", "pair", "--model", "m", "--concurrency", "1", "8"])
    assert pair.command_of(args) == "lab bench pair --model m --concurrency 1 8 --tokens 128"
    with pytest.raises(LabError, match="needs two GPUs"):
        pair.main(args)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_say_where_they_come_from(path: Path):
    found = json.loads(path.read_text("utf-8"))
    assert (found["format"], found["origin"]) == (bench.FORMAT, "measured")
    for key in ("date", "command", "versions", "machine", "hashes", "seeds", "limits"):
        assert found[key], key
    assert found["machine"]["name"] and found["machine"]["driver_version"]
    assert path.parent.name == provenance.slug(found["machine"]["name"])
    assert not re.search(r'"/|[ =]/\w', path.read_text("utf-8")), "no path of a machine"
    for run in found["runs"]:
        assert list(bench.lines(run))

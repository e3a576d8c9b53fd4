"""Figures that were measured on GPUs and come with the course, in `data/results`, as tables.

Every file there says where its figures come from (`labutils.provenance`). `figure` looks one up;
the other functions make Markdown tables in 'en' or 'zh', which `labutils.tables` puts into lessons.
Nothing is measured here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from labutils.errors import LabError
from labutils.paths import DATA

RESULTS = DATA / "results"
SHOWN = "nvidia-h200"
"""The machine whose figures lessons show: the one on which everything was measured."""
MODEL = "internlm2-chat-7b-random"
WHOLE, CAPPED = f"{SHOWN}/gpu-bench-{MODEL}-whole.json", f"{SHOWN}/gpu-bench-{MODEL}-24-40gib.json"
STEP = re.compile(r"(\w+)(?:\[([^\]]*)\])?")
KV = ("none", "int8", "int4")
LOADS = ("batch=1", "batch=64,prompt_tokens=128", "batch=256", "prompt_tokens=2400")


@cache
def read(file: str) -> dict[str, Any]:
    """A file of data/results, by its path in there."""
    return json.loads((RESULTS / file).read_text("utf-8"))


def figure(file: str, where: str) -> Any:
    """A value of a file in data/results.

    Args:
        where: keys joined by dots; after the key of a list, what its item must have, as in
            'runs[weights=fp16,kv=none].memory.kv_tokens'.

    Raises:
        LabError: no such key, or not exactly one such item.
    """
    found: Any = read(file)
    for key, conditions in STEP.findall(where):
        if key not in found:
            raise LabError(f"{file} has no {key!r} where {where!r} looks for it.")
        found = found[key]
        if conditions:
            wanted = dict(pair.split("=") for pair in conditions.split(","))
            fits = [item for item in found if all(str(item.get(k)) == v for k, v in wanted.items())]
            if len(fits) != 1:
                raise LabError(f"{len(fits)} items of {file} fit {key}[{conditions}], not one.")
            (found,) = fits
    return found


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def with_origin(table: str, file: str, language: str) -> str:
    """A table, and under it where its figures come from."""
    found = read(file)
    machine, date = found["machine"]["name"], found["date"][:10]
    version = found["versions"]["lmdeploy"]
    words = {
        "en": f"(Measured on {machine}, {date}, LMDeploy {version}: `data/results/{file}`.)",
        "zh": f"（实测：{machine}，{date}，LMDeploy {version}；见 `data/results/{file}`。）",
    }
    return f"{table}\n\n{words[language]}"


# --- lesson 04 --------------------------------------------------------------------------------


WAYS = {
    "one server": "一个服务器",
    "two servers behind the proxy": "代理后面两个服务器",
    "one server, tp 2": "一个服务器，tp 2",
}


def two_servers(language: str) -> str:
    """What clients see of one GPU and of two, through HTTP."""
    file = f"{SHOWN}/gpu-pair-{MODEL}.json"
    heads = {
        "en": ("", "requests at once", "output tokens/s", "TTFT, ms", "TPOT, ms"),
        "zh": ("", "同时的请求", "输出词元/秒", "TTFT，毫秒", "TPOT，毫秒"),
    }
    rows = [
        (
            run["way"] if language == "en" else WAYS[run["way"]],
            str(run["concurrency"]),
            f"{run['output_tok_s']:,.0f}",
            f"{run['ttft_ms']:.0f}",
            f"{run['tpot_ms']:.1f}",
        )
        for run in read(file)["runs"]
    ]
    return with_origin(markdown(heads[language], rows), file, language)


def tensor_parallel(language: str) -> str:
    """The engine alone on one GPU and on two."""
    file = f"{SHOWN}/gpu-bench-{MODEL}-tp.json"
    heads = {
        "en": ("decode, tokens/s", "1 GPU", "2 GPUs", "ratio"),
        "zh": ("解码，词元/秒", "1 张 GPU", "2 张 GPU", "比值"),
    }
    name = {"en": "batch {}, prompts of {:,} tokens", "zh": "批大小 {}，提示词 {:,} 词元"}[language]
    rows = []
    for batch, prompt in ((1, 128), (16, 128), (64, 128), (256, 128), (64, 2400)):
        load = f"loads[batch={batch},prompt_tokens={prompt}].decode_tok_s"
        one, two = (figure(file, f"runs[tp={tp}].{load}") for tp in (1, 2))
        rows.append((name.format(batch, prompt), f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"))
    return with_origin(markdown(heads[language], rows), file, language)


# --- lessons 05 and 06 ------------------------------------------------------------------------


def _decode(weights: str, kv: str) -> Iterator[str]:
    for load in LOADS:
        where = f"runs[weights={weights},kv={kv}].loads[{load}].decode_tok_s"
        yield f"{figure(WHOLE, where):,.0f}"


def _fits(weights: str, kv: str) -> str:
    """Tokens in a cache of the size that the engine set aside under a cap of 24 GiB."""
    where = f"runs[weights={weights},kv={kv},cap_gib=24.0].memory.kv_tokens"
    return f"{figure(CAPPED, where):,}"


def kv_cache(language: str) -> str:
    """Tokens that fit and decode speed, by KV cache format."""
    heads = {
        "en": ("KV cache", "tokens in 24 GiB", "1 request", "64", "256", "64 long ones"),
        "zh": ("KV 缓存", "24 GiB 放得下的词元", "1 个请求", "64", "256", "64 个长的"),
    }
    names = dict(zip(KV, ("fp16", "int8", "int4"), strict=True))
    rows = [(names[kv], _fits("fp16", kv), *_decode("fp16", kv)) for kv in KV]
    return with_origin(markdown(heads[language], rows), WHOLE, language)


def weights(language: str) -> str:
    """W4A16 beside 16 bits: memory and decode speed."""
    heads = {
        "en": ("weights", "GiB", "tokens in 24 GiB", "1 request", "64", "256", "64 long ones"),
        "zh": ("权重", "GiB", "24 GiB 放得下的词元", "1 个请求", "64", "256", "64 个长的"),
    }
    rows = []
    for name in ("fp16", "w4a16"):
        size = figure(WHOLE, f"runs[weights={name},kv=none].memory.weight_bytes") / 2**30
        fit = _fits(name, "none")
        rows.append((name.replace("w", "W").replace("a", "A"), f"{size:.2f}", fit))
        rows[-1] += tuple(_decode(name, "none"))
    return with_origin(markdown(heads[language], rows), WHOLE, language)


def slices(language: str) -> str:
    """Tokens that fit beside the weights, by how much of the card an engine may see."""
    heads = {
        "en": ("memory", "fp16", "fp16, KV int8", "W4A16", "W4A16, KV int4"),
        "zh": ("显存", "fp16", "fp16，KV int8", "W4A16", "W4A16，KV int4"),
    }
    setups = (("fp16", "none"), ("fp16", "int8"), ("w4a16", "none"), ("w4a16", "int4"))
    capped = {"8 GiB": f"{SHOWN}/gpu-bench-{MODEL}-8gib.json", "24 GiB": CAPPED, "40 GiB": CAPPED}
    rows = []
    for name, file in capped.items():
        cap = f"cap_gib={float(name.split()[0])}"
        wheres = [f"runs[weights={w},kv={kv},{cap}]" for w, kv in setups]
        rows.append((name, *(_held(figure(file, where), language) for where in wheres)))
    whole = [figure(WHOLE, f"runs[weights={w},kv={kv}]") for w, kv in setups]
    card = {"en": "the whole card", "zh": "整张卡"}[language]
    rows.append((card, *(_held(run, language) for run in whole)))
    return markdown(heads[language], rows)


def _held(run: dict[str, Any], language: str) -> str:
    """Tokens of a run's cache, or why there are none."""
    if run["status"] == "ok":
        return f"{run['memory']['kv_tokens']:,}"
    words = {"en": ("does not start", "not measured"), "zh": ("无法启动", "没有测")}
    return words[language][0 if run["status"] == "failed" else 1]


# --- lesson 07 --------------------------------------------------------------------------------


def ladder(language: str) -> str:
    """The ladder of the course's widened model with TurboMind."""
    file = f"{SHOWN}/ladder-smollm2-135m-hd128/summary.json"
    heads = {
        "en": ("rung", "right, %", "change, points (95 %)"),
        "zh": ("级", "答对，%", "变化，百分点（95%）"),
    }
    to = {"en": "{:+.1f} ({:+.1f} to {:+.1f})", "zh": "{:+.1f}（{:+.1f} 至 {:+.1f}）"}[language]
    rows = []
    for rung in read(file)["rungs"]:
        change = rung["quality"]["accuracy_change"]
        said = to.format(*(100 * change[key] for key in ("value", "low", "high")))
        right = f"{100 * rung['quality']['accuracy']['value']:.1f}"
        rows.append((f"`{rung['name']}`", right, "" if rung["name"] == "baseline" else said))
    return markdown(heads[language], rows)


def lessons(language: str) -> str:
    """What each lesson took on the GPU, with the course's model and with a 7B shape."""
    file = f"{SHOWN}/lessons-smollm2-135m-hd128.json"
    heads = {
        "en": ("lesson", "seconds", "peak MiB", "with 7B, seconds", "peak MiB"),
        "zh": ("课", "秒", "峰值 MiB", "7B，秒", "峰值 MiB"),
    }
    large = {run["lesson"]: run for run in read(f"{SHOWN}/lessons-{MODEL}.json")["lessons"]}
    rows = [
        (run["lesson"][:2], *_took(run), *_took(large.get(run["lesson"])))
        for run in read(file)["lessons"]
    ]
    return with_origin(markdown(heads[language], rows), file, language)


def _took(run: dict[str, Any] | None) -> tuple[str, str]:
    return (f"{run['seconds']:.0f}", f"{run['gpu_mib']:,}") if run else ("", "")

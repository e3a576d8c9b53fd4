"""Every sentence of a decision, in English and Chinese; {placeholders} are filled by `say`."""

import re

from labutils.ladder.decision import Texts

LANGUAGES = ("en", "zh")
_SEAM = re.compile(r"(?<=[一-鿿])(?=[0-9A-Za-z])|(?<=[0-9A-Za-z%])(?=[一-鿿])")
"""Where Chinese meets a Latin word or a number, and wants a space."""

SENTENCES = {
    # --- what is said of one rung ---
    "no difference": (
        "{title}: no difference shown ({flips}); with {confidence} confidence the loss is below "
        "{bound} points, and {allowed} are allowed.",
        "{title}：未显示出差异（{flips}）；置信度 {confidence} 下，损失低于 {bound} 个百分点，"
        "允许 {allowed} 个百分点。",
    ),
    "small loss": (
        "{title}: a loss of {loss} points is shown ({flips}); with {confidence} confidence it is "
        "below {bound}, and {allowed} are allowed.",
        "{title}：显示出 {loss} 个百分点的损失（{flips}）；置信度 {confidence} 下低于 {bound} 个"
        "百分点，允许 {allowed} 个百分点。",
    ),
    "better": (
        "{title}: better than the baseline by {gain} points ({flips}).",
        "{title}：比基线高 {gain} 个百分点（{flips}）。",
    ),
    "worse": (
        "{title}: {loss} points lost ({flips}); with {confidence} confidence the loss is above the "
        "{allowed} points allowed.",
        "{title}：损失 {loss} 个百分点（{flips}）；置信度 {confidence} 下超过允许的 {allowed} 个"
        "百分点。",
    ),
    "unclear": (
        "{title}: with this much data it cannot be told whether the loss is above or below the "
        "{allowed} points allowed (change {change} points, {flips}); about {more} more items would "
        "tell.",
        "{title}：数据量不足，无法判断损失是高于还是低于允许的 {allowed} 个百分点（变化 {change} 个"
        "百分点，{flips}）；大约再需要 {more} 道题。",
    ),
    "unclear for ever": (
        "{title}: the loss is so close to the {allowed} points allowed that no reasonable number "
        "of items would tell (change {change} points, {flips}).",
        "{title}：损失与允许的 {allowed} 个百分点过于接近，再多的题目也难以判断（变化 {change} 个"
        "百分点，{flips}）。",
    ),
    "no informative item": (
        "{title}: no category says anything about this model, so its answers cannot be compared: "
        "bring items of which it gets 30 to 90 % right.",
        "{title}：没有任何类别能反映这个模型的差异，无法比较回答：请换用它能答对 30% 到 90% 的"
        "题目。",
    ),
    "too slow": (
        "{title}: {tpot} ms a token at concurrency {concurrency}, and {limit} are allowed.",
        "{title}：并发 {concurrency} 时每词元 {tpot} ms，上限为 {limit} ms。",
    ),
    "speed unknown": (
        "{title}: its speed at concurrency {concurrency} was not measured.",
        "{title}：没有测量并发 {concurrency} 时的速度。",
    ),
    "no saving": (
        "{title}: neither smaller nor faster than {than}, so it gains nothing.",
        "{title}：与{than}相比既不省内存也不更快，没有收益。",
    ),
    "did not run": (
        "{title}: did not run ({status}){words}.",
        "{title}：未能运行（{status}）{words}。",
    ),
    "unsupported": ("unsupported", "不支持"),
    "crashed": ("crashed", "崩溃"),
    "timeout": ("timeout", "超时"),
    "out of memory": ("out of memory", "内存不足"),
    "not reached": (
        "{title}: not reached, the rule stops before it.",
        "{title}：规则在此之前已停止，未走到这一步。",
    ),
    "not reached but good": (
        "{title}: not reached, the rule stops before; within the limits all the same.",
        "{title}：规则在此之前已停止，未走到这一步；但从数据看符合要求。",
    ),
    # --- the outcome ---
    "outcome quantize": (
        "Use {title}: the last rung that keeps what you ask for.",
        "使用{title}：它是满足要求的最后一级。",
    ),
    "outcome quantize to fit": (
        "Use {title}: the first rung that fits into {budget}, and a further one is not needed.",
        "使用{title}：它是第一个能放进 {budget} 的一级，不必再往下走。",
    ),
    "outcome beyond the rule": (
        "Use {title}: the rule stops before it, but by its figures it would do, and it is the "
        "first that fits into {budget}.",
        "使用{title}：规则在此之前已停止，但从数据看它符合要求，也是第一个能放进 {budget} 的一级。",
    ),
    "outcome enough": (
        "Use the baseline: it fits into {budget} as it is, so quantization is not needed.",
        "使用基线：它本身就能放进 {budget}，不需要量化。",
    ),
    "outcome go back": (
        "Go back one step and use {title}: the next step loses too much.",
        "退回上一步，使用{title}：再走一步损失过大。",
    ),
    "outcome no gain": (
        "Use the baseline: no rung that may be used gains anything.",
        "使用基线：可用的各级都没有带来收益。",
    ),
    "outcome cannot tell": (
        "Use {title} for now: whether the next step would do cannot be told with this much data.",
        "暂时使用{title}：凭目前的数据量无法判断下一步是否可行。",
    ),
    "outcome cannot tell what fits": (
        "No rung that is known to be good fits into {budget}; whether one that fits is good cannot "
        "be told with this much data.",
        "已知可用的各级都放不进 {budget}；放得下的那一级是否可用，凭目前的数据量无法判断。",
    ),
    "outcome nothing else ran": (
        "Use the baseline: no other rung was tried and ran.",
        "使用基线：没有其他一级运行成功。",
    ),
    "outcome baseline did not run": (
        "Nothing can be decided: the baseline, which all others are compared with, did not run.",
        "无法决定：作为比较对象的基线未能运行。",
    ),
    "outcome baseline too weak": (
        "None fits: the baseline gets {accuracy} % right ({low} to {high} %) and you ask for "
        "{least} %; quantization will not raise it, so fine-tune or take a larger model.",
        "没有合适的方案：基线答对 {accuracy}%（{low}% 到 {high}%），而你要求 {least}%；量化不会"
        "提高它，请微调或换用更大的模型。",
    ),
    "outcome none fits": (
        "None fits: no rung keeps both the quality and the limits you ask for; fine-tune a smaller "
        "model, or a larger model that loses less when quantized, or ask for less.",
        "没有合适的方案：没有任何一级能同时满足质量和限制；请微调较小的模型，或换用量化损失更小的大模型，"
        "或放宽要求。",
    ),
    # --- what is added ---
    "memory": (
        "With {tokens} tokens in the KV cache it takes {size}, the baseline {before}.",
        "KV 缓存中有 {tokens} 个词元时占用 {size}，基线占用 {before}。",
    ),
    "speed": (
        "At concurrency {concurrency} it makes {now} tokens/s, the baseline {before}.",
        "并发 {concurrency} 时每秒生成 {now} 个词元，基线为 {before} 个。",
    ),
    "left out": (
        "Not informative for this model, and left out: {names}.",
        "对这个模型没有参考价值、未计入的类别：{names}。",
    ),
    "flips": (
        "{gained} gained and {lost} lost of {items}, {p}",
        "{items} 道题中 {gained} 道由错变对、{lost} 道由对变错，{p}",
    ),
    "baseline": ("the baseline", "基线"),
    "none": ("none", "无"),
    # --- the source's rules of thumb, as questions ---
    "question precision": (
        "Does higher precision answer better?",
        "精度越高，效果越好吗？",
    ),
    "answer precision": (
        "A loss is shown for: {lossy}. No loss is shown for: {rest}.",
        "显示出损失：{lossy}。未显示出损失：{rest}。",
    ),
    "question edge": (
        "At the edge, {concurrency} request at a time: what is fastest?",
        "端侧，并发 {concurrency}：哪一级最快？",
    ),
    "question server": (
        "On a server, {concurrency} requests at a time: what is fastest?",
        "服务器端，并发 {concurrency}：哪一级最快？",
    ),
    "answer fastest": (
        "{title}: {ratio} × the baseline's tokens/s ({now}).",
        "{title}：每秒词元数为基线的 {ratio} 倍（{now}）。",
    ),
    "answer none faster": (
        "No rung is faster than the baseline beyond the spread of the runs.",
        "没有任何一级比基线更快（超出各次运行的波动）。",
    ),
    "question context": (
        "Long texts: how many tokens fit into {size}, what the baseline takes with {tokens}?",
        "文本很长：{size}（基线存 {tokens} 个词元所占的内存）能放下多少词元？",
    ),
    "answer context": ("{listed}.", "{listed}。"),
}


def say(key: str, **fields: str | int | Texts) -> Texts:
    """The sentence in every language; a field may differ between them."""
    found = {
        language: sentence.format(
            **{n: v[language] if isinstance(v, dict) else v for n, v in fields.items()}
        )
        for language, sentence in zip(LANGUAGES, SENTENCES[key], strict=True)
    }
    return found | {"zh": _SEAM.sub(" ", found["zh"])}


def paragraph(*sentences: Texts) -> Texts:
    """Sentences one after the other."""
    spaces = {"en": " ", "zh": ""}
    return {lang: spaces[lang].join(each[lang] for each in sentences) for lang in LANGUAGES}


def points(share: float) -> str:
    """0.0312 as '3.1'."""
    return f"{100 * share:.1f}"


def p_value(p: float) -> str:
    """0.0312 as 'p = 0.031', and 'p < 0.001' below that."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def size(count: float) -> str:
    """Bytes as '436 MiB' or '4.79 GiB'."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"

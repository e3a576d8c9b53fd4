"""One rung's engine: started as a lesson starts it, asked for answers and for logits.

Works with both of LMDeploy's engines. Logits come last: after `async_get_logits` LMDeploy 0.18.0
spoils the next answer of the same pipeline.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from labutils.errors import LabError
from labutils.ladder.items import Item, is_right, prompt
from labutils.ladder.plan import Plan
from labutils.ladder.results import Answer


def start(model: str, quant_policy: int, plan: Plan, batch: int) -> Any:
    """LMDeploy's pipeline for a model folder with a KV cache format.

    Args:
        batch: sequences that it runs at once.
    """
    from lmdeploy import pipeline

    from labutils.device import engine_config

    config = engine_config(
        plan.dtype, quant_policy, session_len=plan.session_len, max_batch_size=batch
    )
    return pipeline(model, backend_config=config, log_level="ERROR")


def answers(
    pipe: Any, items: Sequence[Item], plan: Plan, batch: int, tell: Callable[[int], None]
) -> tuple[Answer, ...]:
    """What the model replies to each item, decoded greedily, and whether that is right.

    Args:
        batch: items asked at once, always the same ones, so that rungs compute alike.
        tell: called with how many are answered.

    Raises:
        LabError: an item is longer than a session.
    """
    from lmdeploy import GenerationConfig

    greedy = GenerationConfig(max_new_tokens=plan.new_tokens, do_sample=False)
    found: list[Answer] = []
    for start in range(0, len(items), batch):
        asked = items[start : start + batch]
        replies = pipe([prompt(item) for item in asked], gen_config=greedy, use_tqdm=False)
        found += [_answer(item, reply, plan) for item, reply in zip(asked, replies, strict=True)]
        tell(len(found))
    return tuple(found)


def _answer(item: Item, reply: Any, plan: Plan) -> Answer:
    if reply.finish_reason not in ("stop", "length"):
        raise LabError(
            f"The engine does not answer {item.id!r} ({reply.finish_reason}): shorten it to what "
            f"fits into {plan.session_len} tokens with its reply."
        )
    right = is_right(item, reply.text)
    return Answer(item.id, item.category, item.language, item.question, reply.text, right)


def logits(pipe: Any, passages: Sequence[Sequence[int]]) -> Iterator[Any]:
    """Logits of each passage but of its last token, which has no successor in it.

    One prefill through the rung's own KV cache; the engine's dtype, [tokens − 1, vocabulary].
    """
    for passage in passages:
        work = pipe.async_engine.async_get_logits([list(passage)])
        (found,) = pipe._run(coro=work).result()
        yield found[: len(passage) - 1].cpu()

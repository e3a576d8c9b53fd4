"""Greedy decoding in Transformers, with one forward pass in place of one for each token."""

from typing import Any

import torch


def chat_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The token ids of a chat of one message."""
    chat = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return tokenizer(text).input_ids


@torch.no_grad()
def choices(model: Any, prompt: list[int], answer: list[int]) -> list[int]:
    """What the model chooses in place of each token of an answer, and after the last.

    An answer is its own, decoded greedily, if it chooses these very tokens.
    """
    return (
        model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 :].argmax(-1).tolist()
    )


def answer(model: Any, tokenizer: Any, prompt: str, count: int, guess: list[int]) -> list[int]:
    """Up to `count` tokens that the model answers with; a right guess saves the decoding."""
    ids = chat_ids(tokenizer, prompt)
    *same, after = choices(model, ids, guess)
    if same == guess and (len(guess) == count or after == tokenizer.eos_token_id):
        return guess
    out = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    tokens = out[0, len(ids) :].tolist()
    return tokens[:-1] if tokens[-1] == tokenizer.eos_token_id else tokens

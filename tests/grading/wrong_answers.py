"""One typical wrong answer to every exercise, and the words that tell its author what is wrong."""

WRONG: dict[str, dict[str, tuple[str, str]]] = {
    "00_environment": {
        # compares versions as text, and passes a missing package over
        "conflicts": (
            """
def conflicts(listed, declared):
    return [
        (package, text)
        for package, wishes in declared.items()
        for text in wishes
        if "==" in text and listed.get(text.split("==")[0]) != text.split("==")[1]
    ]""",
            "1.10 is newer than 1.9",
        ),
        # forgets that arithmetic has a limit, too
        "decode-limit": (
            """
def decode_limit(weight_bytes, batch, bandwidth, flops):
    return batch * bandwidth / weight_bytes""",
            "1000 conversations are compute-bound",
        ),
        # reckons with the whole card
        "fit": (
            """
def tokens_that_fit(card, share, weights, per_token, count=0.8):
    return max(0, int((card - weights) * count // per_token))""",
            "30 % of 80 GiB less 14.41 GiB",
        ),
        # thinks that a GPU which cannot be used stops the lessons
        "healthy": ('healthy = {"a slice of an A100"}', "missing from your set"),
    },
    "01_online_conversion": {
        # stacks q, k and v whole
        "fuse-groups": (
            "def fuse_groups(q, k, v, kv_heads):\n    return torch.cat([q, k, v])",
            "group 0 is queries 10 and 11",
        ),
        # looks for config.json first, which a workspace has not
        "kind-of": (
            """
def kind_of(folder):
    if not (folder / "config.json").is_file():
        return "none"
    if (folder / "triton_models").is_dir():
        return "workspace"
    text = (folder / "config.json").read_text()
    return "quantized" if "quantization_config" in text else "plain\"""",
            "it has triton_models",
        ),
        # cuts both matrices by columns
        "shares": (
            """
def shares(hidden, inter, heads, kv_heads, head_dim, tp):
    wide = (heads + 2 * kv_heads) * head_dim // tp
    return (hidden, wide), (hidden, inter // tp), (inter, hidden // tp)""",
            "gate is cut by columns, down by rows",
        ),
        # copies the author's number
        "today-lines": (
            """
today = {
    "chat": "lmdeploy chat /models/EmoLLM --trust-remote-code",
    "serve": "lmdeploy serve api_server /models/EmoLLM --trust-remote-code "
    "--server-name 127.0.0.1 --quant-policy 4",
    "quantize": "lmdeploy lite auto_awq /models/EmoLLM --w-bits 4 "
    "--w-group-size 128 --work-dir /models/EmoLLM-4bit",
}""",
            "4 is int4 now",
        ),
    },
    "02_offline_conversion": {
        "positions": (
            "def positions(head_dim):\n    return list(range(head_dim))",
            "dimension i stands beside i + 4",
        ),
        # forgets that every GPU has a file of its own
        "qkv-bytes": (
            """
def qkv_bytes(settings):
    heads, kv = int(settings["head_num"]), int(settings["kv_head_num"])
    d = int(settings["size_per_head"])
    return heads * d * (heads + 2 * kv) * d * 2""",
            "each of 4 GPUs has a quarter",
        ),
        # believes that head_dim always follows from the hidden size
        "problems": (
            """
def problems(config, tp=1):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    found = set() if config["hidden_size"] / heads == 128 else {"head_dim"}
    return found | ({"tp"} if heads % tp or kv_heads % tp else set())""",
            "head_dim is given: 256",
        ),
    },
    "03_local_chat": {
        # counts what people typed, without the template
        "prompt-tokens": (
            """
def prompt_tokens(messages):
    return sum(len(tokenizer(each["content"]).input_ids) for each in messages)""",
            "did you render the chat template",
        ),
        # stops one token too early
        "top-p": (
            """
def top_p_candidates(probabilities, top_p):
    kept, mass = [], 0.0
    for i in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        if mass + probabilities[i] > top_p:
            break
        kept.append(i)
        mass += probabilities[i]
    return sorted(kept)""",
            "until the mass before a token exceeds top_p",
        ),
        # lets the first token's wait into the mean
        "latency": (
            """
def latency(start, arrivals):
    return arrivals[0] - start, (arrivals[-1] - start) / len(arrivals)""",
            "TPOT is the mean of the gaps after it",
        ),
    },
    "04_api_serving": {
        # takes every stream for a whole one
        "read-stream": (
            """
def read_stream(lines):
    text = ""
    for line in lines:
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                text += choice["delta"].get("content") or ""
    return text, "stop\"""",
            "a broken stream",
        ),
        # shares the work out evenly, as if answers could be cut
        "decode-steps": (
            """
def decode_steps(lengths, slots):
    static = sum(max(lengths[at : at + slots]) for at in range(0, len(lengths), slots))
    return static, -(-sum(lengths) // slots)""",
            "the third takes the first's slot",
        ),
        # counts every conversation's blocks, shared or not
        "blocks-in-use": (
            "def blocks_in_use(lengths, shared, block=64):\n"
            "    return sum(-(-length // block) for length in lengths)",
            "130 tokens fill 2 whole blocks",
        ),
        # takes every 4xx for the client's own mistake
        "advice": (
            """
def advice(status):
    if status == 200:
        return "done"
    if status in (401, 403):
        return "mend the key"
    return "mend the request" if 400 <= status < 500 else "ask again\"""",
            "429 may pass by itself",
        ),
        # takes the last error for the cause
        "diagnosis": (
            """
diagnosis = {
    "a": (6, "take another port"),
    "b": (6, "name the Hugging Face folder"),
    "c": (8, "shorten the prompt"),
    "d": (3, "send the right key"),
}""",
            "c: line 4 names the cause",
        ),
    },
    "05_kv_quantization": {
        # forgets scale and zero point of a quantized row, which the visible test does not show
        "kv-bytes": (
            """
def kv_bytes(config, bits):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return config["num_hidden_layers"] * 2 * kv_heads * head_dim * bits // 8""",
            "66 KiB for InternLM2-7B in int8",
        ),
        # cuts off in place of rounding
        "quantize-row": (
            """
def quantize_row(numbers, bits):
    low, high = min(numbers), max(numbers)
    scale = (high - low) / (2**bits - 1) or 1.0
    return [int((x - low) / scale + 1e-9) for x in numbers], scale, -low / scale""",
            "round to the nearest level",
        ),
        # forgets that a conversation takes whole blocks
        "plan": (
            """
def plan(memory, weights, sizes, sessions, tokens, share=0.8):
    for policy in (0, 8, 4):
        if sessions * tokens * sizes[policy] <= (memory - weights) * share:
            return policy""",
            "each of 10 conversations takes 2 blocks",
        ),
        # knows today's meaning alone
        "meaning-of": (
            "def meaning(policy, release):\n    return {0: 16, 4: 4, 8: 8}.get(policy)",
            "the number changed its meaning in 0.4.0",
        ),
    },
    "06_w4a16": {
        # forgets the high half
        "column-of": ("def column_of(n):\n    return 2 * n % 8", "16-19 column 1"),
        # takes the nibbles in their order
        "unpack-int": (
            "def unpack_int(packed):\n    return [packed >> (4 * n) & 15 for n in range(8)]",
            "0x75316420 holds 0 to 7 in the order of columns",
        ),
        # cuts nothing off
        "quantize-group": (
            """
def quantize_group(weights):
    scale = (max(weights) - min(weights)) / 15
    zero = -round(min(weights) / scale)
    return [round(each / scale) + zero for each in weights], scale, zero""",
            "cut off at 15",
        ),
        # forgets the scales and zero points
        "shrunk": (
            "def shrunk(linear, other, group_size=128):\n    return linear // 2 + other * 2",
            "2 scales of 2 bytes",
        ),
        # expects the same gain for everybody
        "gain": (
            """
def gain(batch, parameters, small, bandwidth, flops):
    return 2 * parameters / small""",
            "W4A16 computes for 5 ms",
        ),
    },
    "07_best_practice": {
        # writes a rung's title in place of its name
        "prediction": (
            """
def prediction():
    return {
        "KV int8 loses": 0,
        "W4A16 loses": 5,
        "W4A16 memory": 65,
        "fastest at 1": "W4A16",
        "fastest at 16": "w4a16",
        "choice": "kv-int8",
    }""",
            "'fastest at 1': one of",
        ),
        # counts the steps that are good enough
        "use-step": (
            "def use_step(good):\n    return sum(good) or None",
            "stop at the first failure",
        ),
        # forgets the weights
        "room": (
            """
def room(run, name, budget):
    return int(budget // run.entry(name).memory.kv_per_token.value)""",
            "(314,572,800 - 269,030,016) bytes",
        ),
        # takes what was measured for what is known
        "judged": (
            """
def judged(items, gained, lost, allowed):
    return "within" if (lost - gained) / items < allowed else "beyond\"""",
            "KV int8, 3 points: unclear",
        ),
        "my-items": ("def my_items():\n    return []", "five or more"),
        # takes the smallest
        "defence": (
            """
def defence():
    entry = full.entry("w4a16-kv-int4")
    change = entry.quality.accuracy_change
    others = ("kv-int8", "kv-int4", "w4a16", "w4a16-kv-int8")
    return {
        "rung": "w4a16-kv-int4",
        "MiB": entry.memory.total(4096) / 2**20,
        "points lost": -100 * change.value,
        "at worst": -100 * change.low,
        "left out": {"baseline": "memory"} | dict.fromkeys(others, "memory"),
    }""",
            "320 and 6 are allowed",
        ),
    },
}

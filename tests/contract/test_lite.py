"""The real `lmdeploy lite calibrate`, today's and 0.2.4's, calibrates with our text, offline.

What it leaves equals what Transformers gives for the same samples, which are drawn here anew.
"""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from labutils import LabError, calibration, classic, corpus, hub, models
from labutils.classic.models import old_form
from labutils.lite import lite

SAMPLES, SEQLEN = 4, 128
needs_classic = pytest.mark.skipif(bool(classic.why_not()), reason=classic.why_not())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Documents of which some are too short for a sample."""
    return [text[:1500] for text in corpus.python_topics()] + ["Too short."]


@pytest.fixture(scope="module")
def text(texts, tmp_path_factory) -> Path:
    """Where LMDeploy finds them."""
    return hub.hub_folder(tmp_path_factory.mktemp("hub") / "text", texts)


@pytest.fixture
def small(model, tmp_path) -> Path:
    """A random Llama with another base of its rotary embedding than the usual 10000."""
    from tiny import SIZE, make

    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = LlamaConfig(**SIZE, num_key_value_heads=2, rope_parameters=rope)
    return make(tmp_path / "small", config, model)


def samples(model: str | Path, texts: list[str], joined: bool) -> list[torch.Tensor]:
    """SAMPLES × int64 [1, SEQLEN], drawn as LMDeploy draws them (seed 0)."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    draw = random.Random(0)
    documents = ["\n\n".join(texts)] if joined else texts
    encoded = [tokenizer(d, return_tensors="pt", verbose=False).input_ids for d in documents]
    found = []
    for _ in range(SAMPLES):
        ids = encoded[0] if joined else draw.choice(encoded)
        while ids.size(1) < SEQLEN:
            ids = draw.choice(encoded)
        start = draw.randint(0, ids.size(1) - SEQLEN)
        found.append(ids[:, start : start + SEQLEN])
    return found


@torch.inference_mode()
def keys_and_values(model: str | Path, drawn: list[torch.Tensor]) -> list[torch.Tensor]:
    """K after the rotary embedding, and V: float16 [layers, kv_heads, tokens, head_dim] each."""
    llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float16)
    caches = [llama.model(ids, use_cache=True).past_key_values.layers for ids in drawn]
    return [
        torch.stack(
            [torch.cat([getattr(cache[n], kind)[0] for cache in caches], 1) for n in range(layers)]
        )
        for kind in ("keys", "values")
        for layers in [len(caches[0])]
    ]


@torch.inference_mode()
def inputs_of(model: str | Path, module: str, drawn: list[torch.Tensor]) -> list[torch.Tensor]:
    """What goes into a module of each layer, over all samples: bfloat16 [tokens, channels]."""
    llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    seen: list[list[torch.Tensor]] = []
    for layer in llama.model.layers:
        seen.append([])
        layer.get_submodule(module).register_forward_pre_hook(
            lambda _, given, mine=seen[-1]: mine.append(given[0][0].clone())
        )
    for ids in drawn:
        llama.model(ids)
    return [torch.cat(of_layer) for of_layer in seen]


def error(statistics: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a part of the largest value of its layer."""
    difference = (statistics.float() - expected.float()).abs().flatten(1).amax(1)
    return (difference / expected.float().abs().flatten(1).amax(1)).max().item()


# --- today's -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_set", ["wikitext2", "c4"])
def test_todays_inputs_are_those_of_transformers(
    short_model, texts, text, tmp_path, monkeypatch, data_set
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    options = {"calib_samples": SAMPLES, "calib_seqlen": SEQLEN, "calib_dataset": data_set}
    said = lite("calibrate", short_model, text=text, work_dir=tmp_path / "stats", **options)
    assert f"model.layers.2, samples: {SAMPLES}" in said
    kept = list(tmp_path.glob("home/datasets/*"))
    assert not kept, "our text would pass for the hub's data set later"
    found = calibration.read(tmp_path / "stats", short_model)
    assert found.keys is None, "today's LMDeploy writes none"
    drawn = samples(short_model, texts, joined=data_set == "wikitext2")
    for module in ("self_attn.q_proj", "mlp.down_proj"):
        seen = inputs_of(short_model, module, drawn)
        for name, of in (("max", torch.amax), ("min", torch.amin)):
            expected = torch.stack([of(x, 0) for x in seen])
            assert error(found.inputs[module][name], expected) < 2**-6, "bfloat16 rounds to 2^-8"
        expected = torch.stack([x.float().abs().mean(0) for x in seen])
        assert error(found.inputs[module]["absmean"], expected) < 2**-6


def test_today_too_little_text_is_refused_before_anything_runs(model, tmp_path):
    short = hub.hub_folder(tmp_path / "text", ["Some words."])
    for data_set in ("wikitext2", "c4"):
        with pytest.raises(LabError, match=f"and {data_set} samples of 2,048 are asked for"):
            lite("calibrate", model, text=short, work_dir=tmp_path / "s", calib_dataset=data_set)
    assert not (tmp_path / "s").exists()


def test_today_a_wrong_option_and_lmdeploys_own_refusal(small, text, tmp_path):
    with pytest.raises(LabError, match="no option calib_sample: did you mean calib_samples"):
        lite("calibrate", small, text=text, work_dir=tmp_path / "s", calib_sample=1)
    config = json.loads((small / "config.json").read_text())
    config |= {"architectures": ["PhiForCausalLM"], "model_type": "phi"}
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(LabError, match="lite calibrate failed: .* PhiForCausalLM are not support"):
        lite("calibrate", small, text=text, work_dir=tmp_path / "s", calib_seqlen=8)


# --- 0.2.4 ---------------------------------------------------------------------------------------

ON_CPU = ("--calib-samples", str(SAMPLES), "--calib-seqlen", str(SEQLEN), "--device", "cpu")


def calibrate(model: Path, text: Path, stats: Path, *options: str, check: bool = True) -> str:
    """Run 0.2.4's calibrate in the folder of our text."""
    words = ("lite", "calibrate", str(model), "--work-dir", str(stats), *(options or ON_CPU))
    return classic.lmdeploy(*words, cwd=text, check=check)


@needs_classic
@pytest.mark.parametrize(
    ("name", "data_set", "shape"),
    [("short_model", "c4", (3, 3, 64)), ("short_model_128", "ptb", (2, 3, 128))],
)
def test_keys_and_values_are_those_of_transformers(
    request, texts, text, tmp_path, name, data_set, shape
):
    source = request.getfixturevalue(name)
    made = old_form(source, tmp_path / name)
    options = () if data_set == "ptb" else ("--calib-dataset", data_set)  # its default
    said = calibrate(made, text, tmp_path / "stats", *ON_CPU, *options)
    assert f"model.layers.{shape[0] - 1}, samples: {SAMPLES}" in said
    found = calibration.read(tmp_path / "stats", source)
    assert found.keys.absmax.shape == shape
    drawn = samples(source, texts, joined=data_set != "c4")
    for kept, seen in zip((found.keys, found.values), keys_and_values(source, drawn), strict=True):
        expected = {"max": seen.amax(2), "min": seen.amin(2), "absmax": seen.abs().amax(2)}
        for statistic, tensor in expected.items():
            ours = getattr(kept, statistic)
            assert ours.dtype == torch.float16
            assert error(ours, tensor) < 2**-8, "float16 rounds to 2^-11, in every layer"
            assert torch.equal(ours[0], tensor[0]), "the first layer has nothing to add up"


@needs_classic
def test_without_the_old_form_0_2_4_reckons_with_another_rope_theta(small, texts, text, tmp_path):
    """Why the folder of Transformers 5 is refused: 0.2.4 says nothing, and its K are wrong."""
    made = old_form(small, tmp_path / "made")
    (seen, _) = keys_and_values(small, samples(small, texts, joined=True))
    calibrate(made, text, tmp_path / "right")
    assert error(calibration.read(tmp_path / "right").keys.max, seen.amax(2)) < 2**-8
    config = json.loads((made / "config.json").read_text())
    del config["rope_theta"]
    (made / "config.json").write_text(json.dumps(config))
    with pytest.raises(LabError, match="keeps rope_theta 1e.06 where .* use .*old_form"):
        calibrate(made, text, tmp_path / "wrong")
    calibrate(made, text, tmp_path / "wrong", check=False)
    assert error(calibration.read(tmp_path / "wrong").keys.max, seen.amax(2)) > 0.05


@needs_classic
def test_0_2_4_is_refused_what_would_fail_or_never_end(small, text, tmp_path):
    made = old_form(small, tmp_path / "made")
    short = hub.hub_folder(tmp_path / "short", ["Some words."])
    refused = [
        (text, ON_CPU[:4], "unless told otherwise: --device cpu"),
        (short, ("--calib-dataset", "c4", *ON_CPU), "longest document has 3 tokens, and c4"),
        (short, ON_CPU, "and ptb samples of 128"),
        (tmp_path, ON_CPU, "holds no text in place of ptb"),
        (text, ("--calib-dataset", "pileval", *ON_CPU), "local text for wikitext2, c4, ptb only"),
    ]
    for cwd, options, sentence in refused:
        if "--device cpu" in sentence and torch.cuda.is_available():
            continue
        with pytest.raises(LabError, match=sentence):
            calibrate(made, cwd, tmp_path / "stats", *options)
    assert not (tmp_path / "stats").exists()


@needs_classic
def test_the_internlm2_twin_has_no_code_to_run(text, tmp_path):
    with pytest.raises(LabError, match="has no code .* calibrate the Llama that it was made from"):
        calibrate(models.get("smollm2-135m-internlm2"), text, tmp_path / "stats")


@needs_classic
def test_convert_is_refused_the_wrong_rope_theta_too(tmp_path):
    source = models.get("smollm2-135m-hd128")
    words = ("convert", "llama2", str(source), "--tokenizer-path", str(source / "tokenizer.json"))
    with pytest.raises(LabError, match="keeps rope_theta 100000 where"):
        classic.lmdeploy(*words, cwd=tmp_path)
    assert not (tmp_path / "workspace").exists()


def test_the_old_form_links_the_weights_and_is_made_once(small, tmp_path):
    made = old_form(small, tmp_path / "made")
    assert (made / "model.safetensors").resolve() == (small / "model.safetensors").resolve()
    before = (made / "config.json").stat().st_mtime_ns
    assert old_form(small, made) == made and (made / "config.json").stat().st_mtime_ns == before
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (made, small))
    said = [{"role": "user", "content": "Hi, 你好 😉"}]
    assert ours.apply_chat_template(said) == theirs.apply_chat_template(said)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "qwen2"}, "is no Llama model"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "uses llama3 RoPE, which .* has not"),
    ],
)
def test_what_has_no_old_form(small, tmp_path, changes, sentence):
    config = json.loads((small / "config.json").read_text()) | changes
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(LabError, match=sentence):
        old_form(small, tmp_path / "made")
    assert not (tmp_path / "made").exists()

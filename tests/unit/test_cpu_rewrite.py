"""The rewriting rules, on sources of a few lines."""

import traceback

import pytest

from labutils.cpu import cuda_stub, rewrite


def run(source: str) -> dict:
    code = rewrite.rewrite(source, "<lesson>")
    assert code is not None
    names: dict = {}
    exec(code, names)
    return names


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("import torch\nx = torch.cuda", cuda_stub),
        ("import torch\nx = torch.cuda.current_stream().query()", True),
        ("x = 'cuda'", "cpu"),
        ("x = ['cuda', 'ascend']", ["cpu", "ascend"]),
        ("x = 'a cuda device'; y = 'cuda'", "a cuda device"),
        ("def f(device='cuda'):\n    return device\nx = f()", "cpu"),
        ("import torch\nx = torch._C._cuda_clearCublasWorkspaces()", None),
        ("x = ['auto', 'float16', 'bfloat16']", ["auto", "float16", "bfloat16", "float32"]),
        ("x = ['float16', 'bfloat16', 'cuda']", ["float16", "bfloat16", "cpu"]),
        ('"""cuda"""\nfrom __future__ import annotations\nx = "cuda"', "cpu"),
    ],
)
def test_rules(source, value):
    assert run(source)["x"] == value


def test_a_copy_to_the_device_is_a_copy():
    names = run("import torch\na = torch.zeros(2)\nb = a.cuda(non_blocking=True)\nb += 1")
    assert names["a"].tolist() == [0, 0]
    assert names["b"].tolist() == [1, 1]


def test_what_travels_to_the_device_is_copied():
    import torch
    from lmdeploy.pytorch.engine.logits_process import SamplingInputs
    from lmdeploy.pytorch.engine.model_agent.agent import _try_to_cuda

    offsets = torch.zeros(2, dtype=torch.long)
    moved = _try_to_cuda(SamplingInputs(random_offsets=offsets, batch_size=2))
    moved.random_offsets += 1
    assert offsets.tolist() == [0, 0]
    assert _try_to_cuda(None) is None


def test_source_without_cuda_is_left_to_python():
    assert rewrite.rewrite("x = 1\nname = 'cudagraph'", "<lesson>") is None


def test_tracebacks_show_the_original_line_numbers():
    code = rewrite.rewrite('"""Doc."""\nimport torch\n\nx = torch.cuda.current_device() / 0\n', "f")
    with pytest.raises(TypeError) as caught:
        exec(code, {})
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == 4


def test_the_stub_refuses_what_it_does_not_have():
    with pytest.raises(AttributeError):
        cuda_stub.CUDAGraph  # noqa: B018 - looking it up is the test

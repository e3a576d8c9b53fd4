"""A CPU device for LMDeploy 0.18.0's PyTorch engine, added from outside.

LMDeploy runs on CUDA and a few accelerators; this package lets the unmodified release run on a
CPU. In reading order:

- `activate`: decides, when `lmdeploy` is first imported, whether the CPU device takes over;
- `rewrite`: compiles LMDeploy's modules with `torch.cuda` and `'cuda'` replaced;
- `cuda_stub`: what `torch.cuda` becomes;
- `patches`: the few functions of LMDeploy that must answer differently on a CPU;
- `backend`: the table from LMDeploy's operators to `attention`, `linear`, `linear_w4`,
  `elementwise` and `sampling`;
- `recording`: a decode step recorded once and replayed, as CUDA graphs are on a GPU;
- `kernels`: what such a step consists of, as machine code;
- `memory`: how much of this machine the KV cache may take.

No file of site-packages is edited and torch is not patched. Left out: tensor, data and expert
parallelism, MLA, vision encoders, fp8, and quantized weights other than AWQ's 4 bits; each is
refused in one sentence.
"""

SUPPORTED = ("0.18.0",)
"""LMDeploy releases whose internals the patches were written against."""

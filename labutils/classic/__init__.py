"""The real LMDeploy 0.2.4, beside today's and apart from it.

`convert`, `kv_qparams` and `config.ini` are history since LMDeploy 0.6 and 0.10, but converted
models and tutorials that use them are still around. Set-up installs 0.2.4, unmodified, with the
few packages that must be as old as it is, into `.venv/classic`: a folder that only the processes
started here see, before the environment's own packages (which lend it torch).

- `run`: starts it, unless `checks` says that it would go wrong;
- `shim`: what stands in for CUDA 11 on a machine without a GPU, with the arrangement of 4-bit
  weights in `awq`; `stand_ins/datasets.py`: through which `lite` reads its text;
- `models`: model folders as it reads them.

0.2.4 has packages for Python 3.10 and 3.11 only. What its results hold is in `labutils.conversion`,
`labutils.workspace` and `labutils.kv_offline`.
"""

from labutils.classic.run import VERSION, environment, lmdeploy, main, why_not

__all__ = ["VERSION", "environment", "lmdeploy", "main", "why_not"]

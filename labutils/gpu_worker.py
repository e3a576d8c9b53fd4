"""`Bench` under the name by which `labutils.bench` asks for it; see `labutils.gpu.worker`."""

from labutils.gpu.worker import Bench

__all__ = ["Bench"]

"""How much memory the KV cache may plan with, on machines made of a few files."""

import psutil
import pytest

from labutils.cpu import memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write files under a root folder, on a machine with 16 GiB, 12 of them available."""
    size = psutil.virtual_memory()._replace(total=16 * GIB, available=12 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: size)

    def write(files: dict[str, object]):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        return tmp_path

    return write


V2 = "sys/fs/cgroup/lab/class"
V1 = "sys/fs/cgroup/memory/lab"


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({}, 12),
        ({"proc/self/cgroup": "0::/lab/class", f"{V2}/memory.max": "max"}, 12),
        (
            {
                "proc/self/cgroup": "0::/lab/class",
                f"{V2}/memory.max": 4 * GIB,
                f"{V2}/memory.current": 1 * GIB,
            },
            3,
        ),
        (  # the page cache of the group can be given back
            {
                "proc/self/cgroup": "0::/lab/class",
                f"{V2}/memory.max": 4 * GIB,
                f"{V2}/memory.current": 3 * GIB,
                f"{V2}/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}",
            },
            3,
        ),
        (  # the limit stands on the parent
            {
                "proc/self/cgroup": "0::/lab/class",
                f"{V2}/memory.max": "max",
                "sys/fs/cgroup/lab/memory.max": 2 * GIB,
                "sys/fs/cgroup/lab/memory.current": 0,
            },
            2,
        ),
        (  # cgroup version 1, as in many containers
            {
                "proc/self/cgroup": "5:cpu:/lab\n4:memory:/lab",
                f"{V1}/memory.limit_in_bytes": 5 * GIB,
                f"{V1}/memory.usage_in_bytes": 4 * GIB,
            },
            1,
        ),
        (  # version 1 says "no limit" with a number larger than the machine
            {
                "proc/self/cgroup": "4:memory:/lab",
                f"{V1}/memory.limit_in_bytes": 2**63 - 4096,
                f"{V1}/memory.usage_in_bytes": 4 * GIB,
            },
            12,
        ),
    ],
)
def test_free_bytes(machine, files, gib):
    assert memory.free_bytes(machine(files)) == gib * GIB


def test_a_large_machine_is_capped_and_a_small_one_shared(machine, monkeypatch):
    machine({})
    assert memory.plannable_bytes() == memory.CEILING
    small = psutil.virtual_memory()._replace(available=3 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    assert memory.plannable_bytes() == 1.5 * GIB

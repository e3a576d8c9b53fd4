"""What a process that runs a student's code can no longer do, nor undo: limits and a call filter.

Run beside `inside`, before any of that code: standard library only.
"""

import ctypes
import errno
import resource
import struct
from pathlib import Path

MIB = 2**20
MORE_MEMORY = 1024 * MIB
"""Beside what the lesson's own imports took."""
FORKS = (57, 58)
"""fork, vfork; clone depends on its flags."""
ATTACKS = (101, 155, 161, 165, 166, 248, 249, 250, 272, 298, 308, 310, 311, 321, 323, 425)
"""ptrace, pivot_root, chroot, mount, umount2, add_key, request_key, keyctl, unshare,
perf_event_open, setns, process_vm_readv, process_vm_writev, bpf, userfaultfd, io_uring_setup."""


def confine() -> None:
    """Limits that this process, and what it becomes, cannot lift again."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + MORE_MEMORY
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 16 * MIB),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CPU, 60),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    refuse_calls()


def refuse_calls() -> None:
    """Let the kernel refuse this process new processes, and what only an attack calls.

    A filter of system calls (seccomp), because the kernel does not count root's processes. Threads
    are allowed: they share the limit of memory, in which each takes its stack.

    Raises:
        OSError: the kernel has no such filters.
    """
    code = b"".join(struct.pack("HBBI", *each) for each in _filter())
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.syscall(317, 1, 1, program):  # seccomp, SET_MODE_FILTER, for all threads
        raise OSError(ctypes.get_errno(), "seccomp")


def _filter() -> list[tuple[int, int, int, int]]:
    """The filter as instructions of classic BPF: code, jump if true, jump if false, operand.

    Source: Linux, include/uapi/linux/{bpf_common,filter,seccomp}.h; calls as on x86-64.
    """
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, error = 0x7FFF0000, 0x00050000
    instructions = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, 0xC000003E),
        (answer, 0, 0, error | errno.EPERM),
        (load, 0, 0, 0),  # the call
        (at_least, 0, 1, 0x40000000),  # those of x32
        (answer, 0, 0, error | errno.EPERM),
        (equal, 0, 1, 435),  # clone3, whose flags lie in memory: the C library takes clone then
        (answer, 0, 0, error | errno.ENOSYS),
    ]
    for number, code in (
        dict.fromkeys(FORKS, errno.EAGAIN) | dict.fromkeys(ATTACKS, errno.EPERM)
    ).items():
        instructions += [(equal, 0, 1, number), (answer, 0, 0, error | code)]
    return [
        *instructions,
        (equal, 1, 0, 56),  # clone
        (answer, 0, 0, allow),
        (load, 0, 0, 16),  # its flags
        (any_bit, 0, 1, 0x10000),  # CLONE_THREAD
        (answer, 0, 0, allow),
        (answer, 0, 0, error | errno.EAGAIN),
    ]

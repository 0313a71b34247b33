"""What a child process is denied before it sees a byte of a document."""

from __future__ import annotations

import ctypes
import os
import resource

from dsdc.settings import Parsing

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MAX_FILE = 1 << 30
_MAX_OPEN = 256

#: What a child may know of the environment: no secret, no address of a service.
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")
#: One thread each: the children themselves are the parallelism.
ONE_THREAD = {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def environment() -> dict[str, str]:
    """A child's whole environment."""
    return {key: os.environ[key] for key in KEPT if key in os.environ} | ONE_THREAD


def confine(config: Parsing) -> None:
    """Limit this process for good: memory, file size, open files, core dumps, privileges, and the network if it can."""
    memory = config.memory_mb << 20
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_FSIZE, _MAX_FILE)
    _lower(resource.RLIMIT_NOFILE, _MAX_OPEN)
    _lower(resource.RLIMIT_CORE, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _leave_the_network(libc)


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _leave_the_network(libc: ctypes.CDLL) -> bool:
    """A namespace without a network. Where the kernel or the container does not allow it, the other limits remain.

    A superuser needs no user namespace, and in one it could no longer read other users' files.
    """
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    return bool(libc.unshare(flags) == 0)


def allow_cpu(seconds: int) -> None:
    """From now on so many processor seconds; the kernel ends the process beyond them (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))

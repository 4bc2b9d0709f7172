"""The process's heap: kept between updates instead of handed back to the system.

An update on a CPU takes its working memory, up to gigabytes, from the C library and returns it at its end. By default
the library hands it to the system at once, and every update pays for every page anew: a third of its CPU time.

`unite` before the first program runs, `keep` when the memory of the start is no longer needed. Both do nothing but on
glibc, and never fail: a run is only slower without them.
"""

from __future__ import annotations

import ctypes
import mmap
import os

# mallopt's parameters and madvise's advice, as <malloc.h> and <sys/mman.h> number them.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
HUGE_PAGES = 14

_united = False


def unite() -> None:
    """Let all threads to come share one heap: only the first heap can grow to any size."""
    global _united
    libc = _glibc()
    _united = libc is not None and bool(libc.mallopt(ARENA_MAX, 1))


def keep() -> bool:
    """Keep what is freed from now on, and use huge pages for the next quarter of the machine's memory.

    Returns whether it will; only a united heap can. What is free already is handed back, and no memory is taken.
    """
    libc = _glibc()
    if libc is None or not _united:
        return False
    libc.malloc_trim(0)
    kept = libc.mallopt(MMAP_MAX, 0) and libc.mallopt(TRIM_THRESHOLD, -1)
    _advise(libc, os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 4)
    return bool(kept)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return None
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def _advise(libc: ctypes.CDLL, size: int) -> None:
    """Grow the heap's address space by `size` bytes and advise huge pages for it."""
    start = libc.malloc(size)
    if start is None:  # the address space is limited
        return
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    libc.madvise(first, size - 2 * mmap.PAGESIZE, HUGE_PAGES)
    libc.free(start)

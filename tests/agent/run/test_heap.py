"""The kept heap: memory that was freed is used again without a page fault, from any thread."""

import ctypes
import subprocess
import sys

import pytest

from agent.run import heap

GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

# Takes and returns 256 MB three times, in a thread, and prints the page faults of each time.
WORK = """
import resource, threading
from agent.run import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = bytearray(b"x" * 2**28)
    del buffer
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{start}
found = []
thread = threading.Thread(target=lambda: found.extend(faults() for _ in range(3)))
thread.start()
thread.join()
print(*found)
"""


def page_faults(start):
    command = [sys.executable, "-c", WORK.format(start=start)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "."})
    return [int(word) for word in answer.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_memory_that_was_freed_is_taken_again_without_page_faults():
    assert min(page_faults("")) > 2**28 // 2**21  # at least one for every page, were they all huge
    first, *again = page_faults("heap.unite(); assert heap.keep()")
    assert first > 2**28 // 2**21
    assert max(again) < 100


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_a_heap_that_is_not_united_is_left_as_it_is():
    assert min(page_faults("assert not heap.keep()")) > 2**28 // 2**21


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_united", False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap.unite()
    assert not heap.keep()

"""Memory that is kept is not faulted in again."""

import platform
import subprocess
import sys
from inspect import cleandoc

import pytest

SCRIPT = """
    import resource
    import torch
    from arzhang.allocator import keep_memory

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def faulted():
        for turn in range(12):
            if turn == 2:
                before = faults()
            torch.zeros(64_000_000, dtype=torch.uint8)
        return faults() - before

    freed = faulted()
    keep_memory()
    print(freed, faulted())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
def test_what_was_allocated_before_is_not_faulted_in_again():
    freed, kept = map(int, subprocess.check_output([sys.executable, "-c", cleandoc(SCRIPT)]).split())
    assert freed > 1000
    assert kept < freed / 5

"""Memory that is kept is not faulted in again."""

import platform
import subprocess
import sys
from inspect import cleandoc

import pytest

SCRIPT = """
    import resource, sys
    import torch
    from arzhang.allocator import keep_memory

    if sys.argv[1] == "kept":
        keep_memory()

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for turn in range(12):
        if turn == 2:
            before = faults()
        torch.zeros(64_000_000, dtype=torch.uint8)
    print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
def test_what_was_allocated_before_is_not_faulted_in_again():
    freed, kept = (
        int(subprocess.check_output([sys.executable, "-c", cleandoc(SCRIPT), way])) for way in ("freed", "kept")
    )
    assert freed > 1000
    assert kept < freed / 5

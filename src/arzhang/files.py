"""Files that are whole or absent, whatever happens while they are written."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write beside the target, then rename, so that nobody ever reads half a file.

    Args:
        path: The file, replaced if it exists.
        content: All of it.
        durable: Whether it must outlast a power cut, which costs a wait for the disk.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "a.txt")
        >>> write_whole(target, b"all of it")
        >>> target.read_bytes(), len(list(target.parent.iterdir()))
        (b'all of it', 1)
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(content)
        if durable:
            sync(partial)
        partial.replace(path)
        if durable:
            sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

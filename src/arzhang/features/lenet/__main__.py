"""``python -m arzhang.features.lenet --data.root DIR``: the training of LeNet."""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import save

from arzhang import config, files, plugins
from arzhang.features.lenet import WEIGHTS
from arzhang.features.lenet.training import Training
from arzhang.types import ArzhangError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Command:
    training: Annotated[tyro.conf.FlagConversionOff[Training], tyro.conf.arg(name="")]
    out: Path = Path("lenet")
    """The folder in which the weights and the record are left."""


def main(arguments: Sequence[str]) -> int:
    """Train, leave the weights and the record, and show the record; return the exit status."""
    try:
        training, rest = config.select_named(Training(data=plugins.find("data", "mnist").Config()), arguments)
        command = tyro.cli(
            _Command,
            args=rest,
            prog="python -m arzhang.features.lenet",
            description=cleandoc(Training.__doc__ or ""),
            default=_Command(training=training),
        )
        console = Console(stderr=True)
        began = time.monotonic()
        network, record = command.training.run(
            partial(track, description="Training", console=console, transient=True, disable=not console.is_terminal)
        )
        content = save(network.state_dict())
        record |= {
            "seconds": round(time.monotonic() - began, 1),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        _leave(command.out, content, record)
    except ArzhangError as error:
        sys.stderr.write(f"arzhang: {error}\n")
        return error.status
    table = Table(title=str(command.out / WEIGHTS.name), show_header=False)
    for key, value in record.items():
        table.add_row(key, str(value))
    Console().print(table)
    return 0


def _leave(folder: Path, content: bytes, record: dict[str, object]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / WEIGHTS.name, content)
        files.write_whole(folder / WEIGHTS.with_suffix(".json").name, (json.dumps(record, indent=2) + "\n").encode())
    except OSError as error:
        raise ArzhangError(f"{folder} cannot be written ({error.strerror}); give --out another folder.") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Checkpoints: a folder a step, whole or absent, and nothing pickled.

A checkpoint is written beside its place, synced to the disk and renamed, so that a run killed at any instant leaves
either the whole of it or nothing. Every file's SHA-256 is in ``state.json``, and that of the rest of ``state.json`` as
well; where one does not fit, the checkpoint is not read, and the one before it is.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arzhang import config, processes
from arzhang.files import sync
from arzhang.run import Run
from arzhang.types import ArzhangError, MisuseError

Tensors = Mapping[str, Tensor]
Which = Literal["newest", "best"]
VERSION = 1


class DamagedError(ArzhangError):
    """A checkpoint is not what was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    path: Path
    step: int
    state: Mapping[str, Any]

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Return one part, such as ``model``, on the CPU."""
        return load_file(self.path / f"{part}.safetensors")


def save(folder: Path, *, step: int, parts: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint: tensors by part and name, and plain values.

    Every process has to call this, each with parts of other names; process 0 writes the rest.

    Raises:
        ArzhangError: It could not be written, for want of room for instance; what was there before is intact.
    """
    final, temporary = folder / f"{step:08d}", folder / f".{step:08d}.writing"
    try:
        if processes.rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        processes.wait()
        for name, tensors in parts.items():
            save_file(
                {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
                temporary / f"{name}.safetensors",
            )
        processes.wait()
        if processes.rank() > 0:
            return final
        hashes = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        values = {"version": VERSION, "step": step, **state, "sha256": hashes}
        text = json.dumps({**values, "seal": _seal(values)}, indent=2)
        (temporary / "state.json").write_text(text, encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        before = steps(folder)
        kept = f"the one of step {before[-1]} is intact" if before else "there is none before it"
        raise ArzhangError(
            f"The checkpoint of step {step} could not be written to {folder} ({_reason(error)}); {kept}. "
            "Make room and start the same command again."
        ) from error
    return final


def steps(folder: Path) -> list[int]:
    """Return the steps of which there are checkpoints, rising."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())


def read(folder: Path, step: int) -> Checkpoint:
    """Open one checkpoint.

    Raises:
        DamagedError: A file is missing, or is not what was written.
        ArzhangError: It cannot be read now, or is of another version.
    """
    path = folder / f"{step:08d}"
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if state.pop("seal") != _seal(state):
            raise DamagedError(f"The checkpoint {path} is damaged: state.json is not what was written.")
        for name, expected in state["sha256"].items():
            if _sha256(path / name) != expected:
                raise DamagedError(f"The checkpoint {path} is damaged: {name} is not what was written.")
    except FileNotFoundError as error:
        raise DamagedError(f"The checkpoint {path} is damaged: {Path(error.filename).name} is missing.") from error
    except (NotADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"The checkpoint {path} is damaged: {_reason(error)}.") from error
    except OSError as error:  # such as too many open files; what cannot be read now may be whole
        raise ArzhangError(
            f"The checkpoint {path} cannot be read ({_reason(error)}). Make it readable and start the same command "
            "again, or remove it to go on from the one before."
        ) from error
    if state["version"] != VERSION:
        raise ArzhangError(
            f"The checkpoint {path} is of version {state['version']!r}; this Arzhang reads version {VERSION}."
        )
    return Checkpoint(path=path, step=step, state=state)


def weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights to use: the moving average where there is one.

    Raises:
        FileNotFoundError: The folder has none.
    """
    average = folder / "ema.safetensors"
    return load_file(average if average.exists() else folder / "model.safetensors")


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint, if there is any, and a sentence for each damaged one that was passed over.

    Raises:
        ArzhangError: There are checkpoints, and all are damaged, or one cannot be read now.
    """
    passed: list[str] = []
    for step in reversed(steps(folder)):
        try:
            return read(folder, step), passed
        except DamagedError as error:
            passed.append(str(error))
    if passed:
        raise ArzhangError(
            f"{' '.join(passed)} None is whole: put one back from a copy, or remove {folder} to start from step 0."
        )
    return None, []


def load(module: nn.Module, tensors: Tensors, *, path: Path) -> None:
    """Give a module the tensors that a checkpoint in ``path`` holds.

    Raises:
        ArzhangError: They are not of its names and shapes; the first that differs is named.
    """
    shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in (tensors, module.state_dict())]
    for name in {**shapes[1], **shapes[0]}:
        found, expected = (each.get(name, "absent") for each in shapes)
        if found != expected:
            raise ArzhangError(f"The weights in {path} do not fit this model: {name} is {found}, not {expected}.")
    module.load_state_dict(tensors)


def restored(folder: Path, *, which: Which = "newest") -> tuple[nn.Module, Run]:
    """Rebuild what a run has learnt: its moving average where it keeps one. The global generators stay as they are.

    Args:
        folder: A run's folder, or one that holds just a ``config.json`` and a ``model.safetensors``.
        which: The newest checkpoint, or the one with the best held-out figure.

    Returns:
        The game, on the CPU, and the run that it was trained in.

    Raises:
        MisuseError: The folder holds no run, or none that has learnt anything yet.
        ArzhangError: The weights are damaged.
    """
    if which not in {"newest", "best"}:
        raise MisuseError(f"There is no checkpoint {which!r}; ask for the newest or the best.")
    if not (folder / "config.json").exists():
        raise MisuseError(f"{folder} holds no run: it has no config.json. Give the folder of a training.")
    run = config.from_dict(Run, config.read(folder))
    with torch.random.fork_rng(devices=[]):
        game = run.model.build()
    found = _chosen(folder, which)
    load(game, found, path=folder)
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise ArzhangError(f"The weights in {folder} are no use: {name} holds numbers that are not finite.")
    return game, run


def prune(folder: Path, *, newest: int, keep: int, best: int | None) -> None:
    """Remove all but the best checkpoint and the ``keep`` newest up to a step; also what an interrupted save left."""
    found = steps(folder)
    kept = {best, *[step for step in found if step <= newest][-keep:]}
    for path in (*(folder / f"{step:08d}" for step in found if step not in kept), *folder.glob(".*.writing")):
        shutil.rmtree(path, ignore_errors=True)


def _chosen(folder: Path, which: Which) -> dict[str, Tensor]:
    saved, passed = newest(folder / "checkpoints")
    for sentence in passed:
        warnings.warn(f"{sentence} Taking the one before.", stacklevel=4)
    if saved is None:
        try:
            return weights(folder)
        except SafetensorError as error:
            raise ArzhangError(f"The weights in {folder} are damaged ({error}); get them once more.") from error
        except FileNotFoundError as error:
            raise MisuseError(f"{folder} has no whole checkpoint and no model.safetensors; train it first.") from error
    if which == "best" and saved.state["best"]:
        saved = read(folder / "checkpoints", saved.state["best"]["step"])
    return weights(saved.path)


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__

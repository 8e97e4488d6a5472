"""What a run has learnt, as what can be done with it: to translate pictures, or to make them."""

from pathlib import Path
from typing import Any

from arzhang import checkpoint
from arzhang.checkpoint import Which
from arzhang.inference import pick_device
from arzhang.sample import Sampler
from arzhang.translate import Translator
from arzhang.types import MisuseError


def load(run: Path | str, *, which: Which = "newest", device: str = "auto", **translating: Any) -> Translator | Sampler:
    """Rebuild what a run has learnt: its moving average where it keeps one.

    ``arzhang.translate.load`` and ``arzhang.sample.load`` do the same where it is known which of the two it is.

    Args:
        run: A run's folder, or one that holds just a ``config.json`` and a ``model.safetensors``.
        which: The newest checkpoint, or the one with the best held-out figure.
        device: Where it computes: cpu, cuda, or auto.
        translating: What else a `Translator` takes, such as ``precision="bfloat16"``.

    Raises:
        MisuseError: The folder holds no run, or none that has learnt anything yet, or one that takes less.
        ArzhangError: The weights are damaged.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        arzhang.types.MisuseError: nowhere holds no run: it has no config.json. Give the folder of a training.
    """
    where = pick_device(device)
    game, made = checkpoint.restored(Path(run), which=which)
    game = game.to(where).eval()
    if hasattr(game, "translate"):
        return Translator(game, made, where, **translating)
    if translating:
        raise MisuseError(f"{run} does not translate, and only what does takes {' and '.join(translating)}.")
    return Sampler(game, made, where)

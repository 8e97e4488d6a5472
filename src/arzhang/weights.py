"""The one safe door for what networks have learnt.

A .safetensors file holds numbers and nothing else, so it is read whoever made it. A .pth file is a pickle, which is a
program: it is read if its SHA-256 is that of a published file, and then for tensors only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from arzhang.downloads import Published, fetch, sha256
from arzhang.types import ArzhangError

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Tensors by name, and where they come from.

    Args:
        tensors: The state dict.
        path: The file.
        sha256: Of the file.
        published: Whether it is the published file.
    """

    tensors: Mapping[str, Tensor]
    path: Path
    sha256: str
    published: bool

    def label(self, name: str) -> str:
        """Return what a network with these weights is called, so that nobody takes it for the published one."""
        return name if self.published else f"{name}-unpublished"

    def provenance(self) -> dict[str, str]:
        """Say which weights these are."""
        return {"weights": self.path.name, "sha256": self.sha256}


def load(published: Published, *, given: Path | None, instead: str = "--weights FILE") -> Weights:
    """Read weights: the published ones, from the cache or the network, or those of a file that the user names.

    Args:
        published: The file that figures in the literature rest on.
        given: A copy of it, or a .safetensors file of any weights.
        instead: How the user can give a file.

    Raises:
        ArzhangError: There is no such file here and none can be had, it is damaged, or it is a pickle that is not the
            published one.
    """
    path = given or fetch(published, instead=instead)
    digest = sha256(path)
    same = digest == published.sha256
    if path.suffix != SUFFIX and not same:
        where = f" (from {' or '.join(published.urls)})" if published.urls else ""
        raise ArzhangError(
            f"{path} has SHA-256 {digest}, and that of {published.name} is {published.sha256}; give that file{where}, "
            f"or weights of your own as a {SUFFIX} file, which cannot do harm."
        )
    try:
        tensors = load_file(path) if path.suffix == SUFFIX else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file raises
        reason = str(error).partition("\n")[0]
        raise ArzhangError(f"{path} holds no weights that can be read ({reason}); fetch or save it again.") from error
    return Weights(tensors=tensors, path=path, sha256=digest, published=same)


def fit(network: nn.Module, tensors: Mapping[str, Tensor], *, source: object) -> None:
    """Put weights into a network, which from then on only looks: it is in evaluation mode and learns no more.

    Args:
        network: With the names and shapes that are expected; its own values, on the meta device or not, are dropped.
        tensors: A state dict.
        source: What to call it in a sentence.

    Raises:
        ArzhangError: The names or the shapes are others.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> fit(layer, {"weight": torch.ones(1, 2)}, source="ones")
        >>> layer(torch.ones(2))
        tensor([2.])
    """
    wanted = network.state_dict()
    faults = [
        *_list("it lacks", wanted.keys() - tensors.keys()),
        *_list("it has besides", tensors.keys() - wanted.keys()),
        *_list(
            "it has in other shapes",
            [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape],
        ),
    ]
    if faults:
        raise ArzhangError(
            f"{source} does not fit {type(network).__name__}, which has {len(wanted)} tensors: {'; '.join(faults)}. "
            "Give the published file, or one of the same names and shapes."
        )
    values = {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}
    network.load_state_dict(values, assign=True)
    network.requires_grad_(requires_grad=False).eval()


def _list(what: str, names: Iterable[str]) -> list[str]:
    first, *others = sorted(names) or [""]
    return [f"{what} {first}{f' and {len(others)} more' if others else ''}"] if first else []

"""The command line: words to functions, errors to sentences, and nothing else."""

import argparse
import inspect
import io
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, cast, final

import torch
import tyro
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Column, Table
from rich.text import Text

from arzhang import (
    agreement,
    check,
    config,
    explain,
    files,
    images,
    plugins,
    processes,
    report,
    restore,
    sample,
    summary,
    translate,
)
from arzhang.allocator import keep_memory
from arzhang.checkpoint import Which
from arzhang.evaluate import (
    PAIRS,
    SETS,
    Evaluation,
    compare,
    evaluate,
    evaluate_pairs,
    is_run,
    metric,
    report_of,
    save_statistics,
)
from arzhang.features import inception
from arzhang.inference import Precision, pick_device
from arzhang.report import evaluation
from arzhang.run import Run, changed, from_recipe, length_from, on_folder
from arzhang.train import train
from arzhang.types import ArzhangError, Estimate, ExtractorConfig, MisuseError

USAGE = """usage: arzhang COMMAND ...

  train RECIPE          train, or go on training            arzhang train pix2pix-small --data.root photos/
  translate RUN INPUT   translate pictures with a run       arzhang translate runs/pix2pix-small label.png --out made/
  sample RUN            draw pictures with a run            arzhang sample runs/vae-digits --count 64 --out drawn.png
  reconstruct RUN INPUT show what a run keeps of pictures   arzhang reconstruct runs/vae-digits new.png --out kept.png
  interpolate RUN A B   go from one picture to another      arzhang interpolate runs/vae-digits 0 7 --out way.png
  evaluate REAL FAKE    judge pictures by real ones         arzhang evaluate photos/ made/ --metrics fid kid pr
  compare A B           tell which of two is better         arzhang compare made-1/ made-2/ --reference photos/
  check DIR             audit a folder of pictures          arzhang check photos/
  study NAME            a laboratory: table and figures     arzhang study estimators --f square --mu 0.7 --m 1.9
  inspect RECIPE        layers, sizes and memory of a run   arzhang inspect pix2pix
  list                  what there is to choose from        arzhang list

`arzhang COMMAND --help` says more, `arzhang --version` which Arzhang this is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for failure, 2 for misuse, 130 for Ctrl-C (SIGTERM: 143)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: print(f"arzhang: {message}", file=sys.stderr)
                return _command(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught, and not as Python ends
    except ArzhangError as error:
        print(f"arzhang: {error}", file=sys.stderr)
        return error.status
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        found = str(error).partition("DefaultCPUAllocator: ")[2] or error
        print(
            f"arzhang: Memory ran out ({found}). What was saved is intact; a smaller --batch, --data.size or "
            "--model.generator.width needs less (`arzhang inspect` estimates how much).",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("arzhang: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _command(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(version("arzhang"))
        return 0
    if arguments[0] not in COMMANDS:
        raise MisuseError(f"There is no command {arguments[0]!r}{plugins.nearest(arguments[0], list(COMMANDS))}")
    return COMMANDS[arguments[0]](arguments[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Train:
    """Train, or go on training, and leave a run's folder with its report.

    The recipe says everything; flags change it. The same command goes on where it stopped, after Ctrl-C, a crash or a
    power cut. A field that holds a part, such as --data or --model.generator, takes another by name: --data derived.
    For your own pictures give --data.root DIR; with it, --help lists the flags of that data.
    After the name of a recipe, --help shows what that recipe says.

    Example: arzhang train pix2pix-small --data.root facades/ --data.direction b-to-a --steps 5000
    """

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE", help_behavior_hint="(required)")]
    """Where to start from: see `arzhang list`."""
    run: Annotated[tyro.conf.FlagConversionOff[Run], tyro.conf.arg(name="")]
    out: Path | None = None
    """The run's folder; runs/RECIPE by default."""
    init: Path | None = None
    """Another run, from whose weights a new one starts."""
    config: Path | None = None
    """A YAML or JSON file, or a run's config.json, laid over the recipe; flags win."""
    plugin: tuple[str, ...] = ()
    """Modules of your own whose parts can then be named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inspect:
    """Show what a run is made of: players, layers, receptive fields, sizes and memory. Takes every flag of train.

    Example: arzhang inspect pix2pix --model.generator.depth 7 --data.size 128
    """

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE", help_behavior_hint="(required)")]
    """Where to start from: see `arzhang list`."""
    run: Annotated[tyro.conf.FlagConversionOff[Run], tyro.conf.arg(name="")]
    config: Path | None = None
    """A YAML or JSON file, or a run's config.json, laid over the recipe; flags win."""
    plugin: tuple[str, ...] = ()
    """Modules of your own whose parts can then be named."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Translate:
    """Translate pictures of any size with what a run has learnt.

    Names and sub-folders are kept, and so is transparency. A single - reads a picture from the standard input and
    writes a PNG to the standard output.

    Example: arzhang translate runs/pix2pix-small labels/ --out photos/
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder that a training has left."""
    inputs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="INPUT...")]
    """Pictures, or folders of them."""
    out: Path | None = None
    """Where the translations go: a folder, or for one picture a file."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Of a model that translates both ways, which; a-to-b by default."""
    noise: Annotated[int | Literal["off"], tyro.conf.arg(metavar="SEED|off")] = "off"
    """What is random in the model: drawn from a seed, as in the paper, or off."""
    checkpoint: Which = "newest"
    """Which weights: the newest, or those with the best held-out figure."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    batch: int = translate.BATCH
    """Most pictures of one size that are translated together."""
    precision: Precision = "float32"
    """float32; tf32 (NVIDIA GPUs), bfloat16 and float16 are faster and round."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile the network, which takes half a minute: for tens of thousands of pictures of one size."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace translations that exist; they are left as they are otherwise."""
    plugin: tuple[str, ...] = ()
    """Modules of your own that the run was trained with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Making:
    """What sample, reconstruct and interpolate have in common."""

    out: Path | None = None
    """Where pictures go: a file, such as drawn.png, for a sheet of all, or a folder."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace files that exist."""
    checkpoint: Which = "newest"
    """Which weights: the newest, or those with the best held-out figure."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    plugin: tuple[str, ...] = ()
    """Modules of your own that the run was trained with."""

    def load(self, run: Path) -> tuple[sample.Sampler, Path]:
        """Return what the run has learnt, and where pictures go."""
        if self.out is None:
            raise MisuseError("Say where pictures go: --out FILE.png for a sheet, or --out DIR.")
        for module in self.plugin:
            plugins.join(module)
        return sample.load(run, which=self.checkpoint, device=self.device), self.out


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """Draw pictures with what a run has learnt, each a function of the seed and of its number alone.

    A run that draws what it is asked for takes labels: one, or several for a sheet of labels against latents.

    Example: arzhang sample runs/vae-digits --count 64 --out drawn.png
    Example: arzhang sample runs/cgan-digits --label 7 --count 16 --out sevens.png
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder that a training has left."""
    count: int | None = None
    """How many pictures, 64 by default; with several labels of each, 8 by default."""
    seed: int = 0
    """Of all of them."""
    label: tuple[str, ...] = ()
    """What is asked for: names or numbers of labels, or all; several at once as 2+5, a vector as .1,.7,..."""
    truncation: float | None = None
    """Bound of the latents of such a run: the smaller, the more typical and the less various are the pictures."""
    origin: Annotated[Literal["prior", "mixture"], tyro.conf.arg(name="from")] = "prior"
    """What latents are drawn from: the model's prior, or a mixture of Gaussians fitted to latents that were learnt."""
    components: int | None = None
    """Gaussians in that mixture; 10 by default."""
    making: Annotated[_Making, tyro.conf.arg(name="")] = _Making()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reconstruct:
    """Show what is left of pictures when all that a run keeps of them are its latents, beside the originals.

    Pictures may have any size and mode; the model sees the square in their middle. Without pictures, the first that the
    run has held out are taken.

    Example: arzhang reconstruct runs/vae-digits photos/ --out kept/
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder that a training has left."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT...")] = ()
    """Pictures, folders of them, or numbers of held-out pictures."""
    making: Annotated[_Making, tyro.conf.arg(name="")] = _Making()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Interpolate:
    """Go from one picture to another through the latents of a run, and show what lies between them.

    With a run that draws what it is asked for, go from one label to another.

    Example: arzhang interpolate runs/vae-digits 0 7 --path spherical --out way.png
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder that a training has left."""
    start: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """A picture, or the number of one that the run has held out; or a label."""
    end: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """Another."""
    steps: int = sample.STEPS
    """Pictures on the way, both ends among them."""
    path: sample.Way = "linear"
    """Straight, or on an arc, on which latents stay as long as they are."""
    making: Annotated[_Making, tyro.conf.arg(name="")] = _Making()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looking:
    """What evaluate and compare have in common."""

    features: ExtractorConfig = inception.Config()
    """The network that is looked through: inception, squeezenet, vgg16, alexnet, lenet or pixels."""
    weights: Path | None = None
    """A file (or a folder) with its weights, where they are not downloaded: the same as --features.weights."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    precision: Precision = "float32"
    """What the network computes in."""
    batch: int = 32
    """Pictures that are looked at together; it changes no figure."""
    seed: int = 0
    """Of what metrics draw: subsets, clusters, permutations."""
    skip_bad: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out, and count, pictures that cannot be read."""
    cache: tyro.conf.FlagCreatePairsOff[bool] = True
    """Keep features under ARZHANG_CACHE, so that the next time takes a moment."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Where the pictures of data:NAME are."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON."""
    plugin: tuple[str, ...] = ()
    """Modules of your own: metrics, extractors, or the parts of a run."""

    def how(self) -> dict[str, Any]:
        """Return what evaluation takes."""
        features = self.features
        if self.weights:
            if "weights" not in {field.name for field in fields(cast("Any", features))}:
                raise MisuseError(f"{plugins.address(features)} has no weights: leave --weights out.")
            features = replace(cast("Any", features), weights=self.weights)
        return {
            "features": features,
            "device": self.device,
            "precision": self.precision,
            "batch": self.batch,
            "seed": self.seed,
            "skip_bad": self.skip_bad,
            "cache": self.cache,
            "data": {"root": str(self.data_root)} if self.data_root else {},
            "track": partial(_track, description="Judging"),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evaluate:
    """Judge pictures by real ones, with intervals, or a run by what it held out.

    A set of pictures is a folder, a zip or tar archive, an .npy or .npz file, statistics that --save-stats wrote (or
    another program: mu and sigma), the folder of a run, which then translates what it held out, or data:NAME,
    data:NAME/train. A run alone is judged by its own targets; one that explains pictures by latents in nats, by its
    reconstructions, and by as many samples; one that draws what it is asked for by whether a classifier agrees.

    Example: arzhang evaluate photos/ made/ --metrics fid kid is prd pr dc
    """

    real: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="REAL", help_behavior_hint="(required)")] = ""
    """The real pictures."""
    fake: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FAKE", help_behavior_hint="")] = ""
    """What is judged."""
    metrics: tuple[str, ...] = ()
    """Which figures: see `arzhang list`. By default fid kid is prd pr dc; of pairs l1 psnr ssim; of what explains
    pictures fid is prd pr dc ppl; of what draws what it is asked for fid is pr."""
    pairs: tyro.conf.FlagCreatePairsOff[bool] = False
    """Judge each picture by the one of the same name: the two folders are what was made, and what it should be."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Of a run that translates both ways, which is judged; a-to-b by default."""
    look: Annotated[_Looking, tyro.conf.arg(name="")] = _Looking()
    heads: Path | None = None
    """What lpips puts on a network, where it is not downloaded: a file, or a folder with lin_alex.npz and its like."""
    save_stats: Path | None = None
    """Write the moments of the real pictures' features to this .npz, for use in the place of REAL."""
    importance: int | None = None
    """Samples of the latents for the likelihood of each picture, of a run that explains pictures; 5000 by default."""
    images: int | None = None
    """Held-out pictures that such a run explains in nats, 1000 by default; or that a run draws which is asked, 10,000
    by default; or all of fewer."""
    out: Path | None = None
    """A folder for report.html and report.json, with curves, nearest neighbours, the best and the worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compare:
    """Tell which of two sets of pictures is nearer to a reference, and whether chance alone would make the difference.

    Example: arzhang compare made-1/ made-2/ --reference photos/ --metrics kid --features squeezenet --weights DIR
    """

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A", help_behavior_hint="(required)")] = ""
    """A set of pictures: see `arzhang evaluate --help`."""
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B", help_behavior_hint="(required)")] = ""
    """Another."""
    reference: Annotated[str, tyro.conf.arg(help_behavior_hint="(required)")] = ""
    """The real pictures."""
    metrics: tuple[str, ...] = ("fid", "kid")
    """Which figures: see `arzhang list`."""
    permutations: int = 99
    """Random divisions of both sets, which show what chance does; each takes as long as the figures themselves."""
    look: Annotated[_Looking, tyro.conf.arg(name="")] = _Looking()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Check:
    """Audit a folder of pictures: layout, sizes, modes, partners, damage, duplicates. Status 1 means a problem.

    Example: arzhang check photos/
    """

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _NoLaboratory:
    """The flags of none, for the help that comes before a name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Study:
    """Run a laboratory: print its table, and leave its figures.

    The rest of its flags are the laboratory's: see `arzhang study NAME --help`.

    Example: arzhang study estimators --f square --mu 0.7 --m 1.9
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME", help_behavior_hint="(required)")]
    """The laboratory: see `arzhang list`."""
    laboratory: Annotated[Any, tyro.conf.arg(name="")]
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the rows as JSON; figures are then drawn only where --out is given."""
    out: Path | None = None
    """A folder for the figures, as PNG, and for what is trained; studies/NAME by default."""
    plugin: tuple[str, ...] = ()
    """Modules of your own that are laboratories."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _List:
    """List the recipes, and the parts that they can be made of.

    Example: arzhang list
    """

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON."""


def _train(arguments: Sequence[str]) -> int:
    command = _parse_run(_Train, arguments)
    with processes.joined(pick_device(command.run.device)):
        folder = train(command.run, out=command.out or Path("runs", command.recipe), init=command.init)
        if processes.rank() == 0:
            print(folder / "report.html")
    return 0


def _inspect(arguments: Sequence[str]) -> int:
    command = _parse_run(_Inspect, arguments)
    command.run.check()
    model, size = command.run.model, getattr(command.run.data, "size", 256)
    if size < 1:
        raise MisuseError(f"data.size is {size}; it should be at least 1.")
    channels = {
        key.removesuffix("_channels").replace("channels", "image"): value
        for key, value in config.to_dict(model).items()
        if key.endswith("channels")
    }
    batch = command.run.batch
    sizes: dict[str, tuple[int, ...]] = {name: (batch, count, size, size) for name, count in channels.items()}
    if asked := getattr(model, "condition", None):
        sizes["label"] = (batch,) if asked == "label" else (batch, model.labels)
    made = summary.summarise(command.run, sizes=sizes)
    if command.json:
        print(json.dumps(asdict(made), indent=2))
        return 0
    console = Console()
    for network in made.networks:
        table = Table("layer", "kind", "output", "parameters", title=f"{network.name}, moved by the {network.player}")
        for layer in network.layers:
            table.add_row(layer.name, layer.kind, " x ".join(map(str, layer.output)), f"{layer.parameters:,}")
        table.caption = f"{network.parameters:,} parameters; output {' x '.join(map(str, network.output))}"
        if network.receptive_field:
            table.caption += f"; each output sees {network.receptive_field} x {network.receptive_field} pixels"
        console.print(table)
    console.print(
        f"A training step at batch {batch} needs about {made.memory / 1e9:.1f} GB: "
        "weights, gradients, moments and activations."
    )
    return 0


def _translate(arguments: Sequence[str]) -> int:
    command = _parse(_Translate, arguments, name="translate")
    for module in command.plugin:
        plugins.join(module)
    if not command.inputs:
        raise MisuseError(f"Say what to translate: `arzhang translate {command.run} label.png --out made/`.")
    piped = Path("-") in command.inputs
    if piped and (len(command.inputs) > 1 or command.out is not None):
        raise MisuseError("A - stands alone, without --out: it goes from the standard input to the standard output.")
    if command.compile and (len(command.inputs) == 1 and not command.inputs[0].is_dir()):
        raise MisuseError("To compile takes longer than to translate one picture; leave --compile to folders.")
    translator = translate.load(
        command.run,
        which=command.checkpoint,
        device=command.device,
        precision=command.precision,
        direction=command.direction,
        compile=command.compile,
    )
    noise = None if command.noise == "off" else command.noise
    if piped:
        made = translator.translate(images.read(sys.stdin.buffer), noise=noise)
        images.write(made, sys.stdout.buffer, format="png")
        return 0
    if command.out is None:
        raise MisuseError("Say where the translations go: --out DIR.")
    files = translate.plan(command.inputs, command.out)
    if len(files) > 1:  # one picture, which may be huge, is not worth the memory
        keep_memory()
    try:
        files[0][1].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArzhangError(f"{command.out} cannot be made ({error.strerror}); give --out another folder.") from error
    tracked = _track(files, description="Translating")
    outcome = translate.translate_files(
        translator, tracked, noise=noise, overwrite=command.overwrite, batch=command.batch
    )
    for sentence in outcome.failed:
        print(f"arzhang: {sentence}", file=sys.stderr)
    kept = (
        f"; {len(outcome.kept)} were there already and left as they are (--overwrite replaces them)"
        if outcome.kept
        else ""
    )
    failed = f"; {len(outcome.failed)} failed" if outcome.failed else ""
    print(f"{len(outcome.written)} of {len(files)} translated into {command.out}{kept}{failed}.")
    return 1 if outcome.failed else 0


def _sample(arguments: Sequence[str]) -> int:
    command = _parse(_Sample, arguments, name="sample")
    if command.components is not None and command.origin == "prior":
        raise MisuseError("The prior has its own components: leave --components out, or give --from mixture.")
    sampler, out = command.making.load(command.run)
    components = sample.COMPONENTS if command.components is None else command.components
    asked = len(sampler.labels()) if "all" in command.label else len(command.label)
    count = (8 if asked > 1 else 64) if command.count is None else command.count
    total = count * max(asked, 1)
    sample.draw_files(
        sampler,
        count,
        out,
        seed=command.seed,
        labels=command.label,
        truncation=command.truncation,
        components=None if command.origin == "prior" else components,
        overwrite=command.making.overwrite,
        track=partial(_track, description="Drawing", total=total),
    )
    print(f"{total} drawn from the {command.origin} into {out}.")
    return 0


def _reconstruct(arguments: Sequence[str]) -> int:
    command = _parse(_Reconstruct, arguments, name="reconstruct")
    sampler, out = command.making.load(command.run)
    made, failed = sample.reconstruct_files(
        sampler,
        command.inputs,
        out,
        overwrite=command.making.overwrite,
        track=partial(_track, description="Reconstructing"),
    )
    for sentence in failed:
        print(f"arzhang: {sentence}", file=sys.stderr)
    print(f"{made} reconstructed into {out}{f'; {len(failed)} failed' if failed else ''}.")
    return 1 if failed else 0


def _interpolate(arguments: Sequence[str]) -> int:
    command = _parse(_Interpolate, arguments, name="interpolate")
    sampler, out = command.making.load(command.run)
    sample.interpolate_files(
        sampler,
        command.start,
        command.end,
        out,
        steps=command.steps,
        path=command.path,
        overwrite=command.making.overwrite,
    )
    print(f"{command.steps} steps from {command.start} to {command.end} drawn into {out}.")
    return 0


def _evaluate(arguments: Sequence[str]) -> int:
    command = _parse_look(_Evaluate, arguments, name="evaluate")
    if not command.real:
        raise MisuseError("Name two sets of pictures, the real ones first: `arzhang evaluate photos/ made/`; or a run.")
    if command.save_stats and (command.pairs or command.save_stats.suffix != ".npz"):
        raise MisuseError("--save-stats is of a set of pictures, and writes an .npz: leave it out, or name one.")
    how = {**command.look.how(), "heads": command.heads, "direction": command.direction}
    if command.pairs and "lpips" not in command.metrics and (command.look.weights or command.heads):
        raise MisuseError("Of pairs, only lpips looks through a network: leave --weights and --heads out.")
    if command.direction and not is_run(Path(command.fake or command.real)):
        raise MisuseError("--direction is of a run that translates both ways, and none is judged here: leave it out.")
    alone = Path(command.real) if not command.fake and is_run(Path(command.real)) else None
    learnt = restore.load(alone, device="cpu") if alone else None
    if isinstance(learnt, sample.Sampler):
        if command.pairs or command.save_stats:
            raise MisuseError("--pairs and --save-stats are of two sets of pictures: leave them out, or name two.")
        if command.direction:
            raise MisuseError(f"{command.real} translates nothing: leave --direction out.")
        chosen = any(each.startswith(("--features", "--weights")) for each in arguments)
        how = how if chosen else {name: value for name, value in how.items() if name != "features"}
        return (_agree if hasattr(learnt.game, "conditions") else _explain)(command, how)
    if not (command.importance is None and command.images is None):
        raise MisuseError(
            "--importance and --images are of a run that explains pictures by latents, such as a vae, judged alone: "
            "leave them out."
        )
    with processes.joined(pick_device(command.look.device)):
        made = _judged(command, how)
        if processes.rank():
            return 0
    if command.look.json:
        print(json.dumps(report.plain({"estimates": made.estimates, "provenance": made.provenance})))
    else:
        console = Console()
        console.print(_figures(made.estimates))
        _print_facts(console, made.estimates, made.provenance)
    if command.save_stats:
        if not made.sets:
            raise MisuseError("Figures of pairs have no statistics to save: leave --save-stats out.")
        save_statistics(made.sets[0], command.save_stats)
    if command.out:
        title = Path(command.fake or command.real).name
        page = report.write(report_of(made, title=title, how=how), command.out)
        print(page, file=sys.stderr if command.look.json else sys.stdout)
    return 0


def _explain(command: _Evaluate, how: Mapping[str, Any]) -> int:
    with processes.joined(pick_device(command.look.device)):
        made = explain.explain(
            command.real,
            metrics=command.metrics or explain.METRICS,
            importance=explain.IMPORTANCE if command.importance is None else command.importance,
            images=command.images,
            **how,
        )
        if processes.rank():
            return 0
    if command.look.json:
        told = ("nats", "terms", "formula", "reconstructions", "samples", "latents", "remarks", "provenance")
        print(json.dumps(report.plain({name: getattr(made, name) for name in told})))
    else:
        console = Console()
        console.print(_figures((*made.nats, *made.latents)))
        if made.terms:
            console.print(_figures(made.terms))
            console.print(made.formula, markup=False)
        if made.samples:
            console.print(_side_by_side(reconstructions=made.reconstructions, samples=made.samples))
        for remark in made.remarks:
            console.print(remark, markup=False)
        _print_facts(console, (*made.latents, *made.reconstructions, *made.samples), made.provenance)
    if command.out:
        page = report.write(made.report(title=Path(command.real).name), command.out)
        print(page, file=sys.stderr if command.look.json else sys.stdout)
    return 0


def _agree(command: _Evaluate, how: Mapping[str, Any]) -> int:
    if command.importance is not None:
        raise MisuseError("--importance is of a run that explains pictures by latents, such as a vae: leave it out.")
    with processes.joined(pick_device(command.look.device)):
        made = agreement.agreement(
            command.real, metrics=command.metrics or agreement.METRICS, count=command.images, **how
        )
        if processes.rank():
            return 0
    if command.look.json:
        told = ("asked", "samples", "reference", "remarks", "provenance")
        print(json.dumps(report.plain({name: getattr(made, name) for name in told})))
    else:
        console = Console()
        if made.asked:
            console.print(_figures(made.asked))
        console.print(_side_by_side(samples=made.samples, **{"real pictures": made.reference}))
        for remark in made.remarks:
            console.print(remark, markup=False)
        _print_facts(console, (*made.asked, *made.samples), made.provenance)
    if command.out:
        page = report.write(made.report(title=Path(command.real).name), command.out)
        print(page, file=sys.stderr if command.look.json else sys.stdout)
    return 0


def _side_by_side(**kinds: Sequence[Estimate]) -> Table:
    table = Table("figure", *(column for kind in kinds for column in (kind, "95 % interval")))
    for figures in zip(*kinds.values(), strict=True):
        table.add_row(
            _directed(figures[0]), *(cell for each in figures for cell in (f"{each.value:.4g}", _interval(each)))
        )
    return table


def _judged(command: _Evaluate, how: Mapping[str, Any]) -> Evaluation:
    if command.pairs:
        if not command.fake:
            raise MisuseError("Pairs are in two folders: `arzhang evaluate --pairs made/ wanted/`.")
        return evaluate_pairs(command.real, command.fake, metrics=command.metrics or PAIRS, **how)
    if command.fake:
        return evaluate(command.real, command.fake, metrics=command.metrics or SETS, **how)
    metrics = command.metrics or PAIRS
    of_pairs = [name for name in metrics if metric(name).asks == "pairs"]
    of_sets = [name for name in metrics if name not in of_pairs]
    parts = []
    if of_pairs:
        parts.append(evaluate_pairs(command.real, metrics=of_pairs, **how))
    if of_sets:
        parts.append(evaluate(command.real, metrics=of_sets, **how))
    return Evaluation(
        estimates=tuple(each for part in parts for each in part.estimates),
        results={name: result for part in parts for name, result in part.results.items()},
        provenance={key: value for part in parts for key, value in part.provenance.items()},
        sets=parts[-1].sets,
    )


def _compare(arguments: Sequence[str]) -> int:
    command = _parse_look(_Compare, arguments, name="compare")
    if not (command.first and command.second and command.reference):
        raise MisuseError("Name two sets and the real one: `arzhang compare made-1/ made-2/ --reference photos/`.")
    with processes.joined(pick_device(command.look.device)):
        compared = compare(
            command.first,
            command.second,
            reference=command.reference,
            metrics=command.metrics,
            permutations=command.permutations,
            **command.look.how(),
        )
        if processes.rank():
            return 0
    better = [{True: "A", False: "B", None: "open"}[each.first_is_better] for each in compared]
    if command.look.json:
        told = [{**report.plain(each), "better": one} for each, one in zip(compared, better, strict=True)]
        print(json.dumps(told))
        return 0
    table = Table("figure", "A", "B", "A less B", "95 % interval", "chance", "better")
    for each, one in zip(compared, better, strict=True):
        values = [f"{figure.value:.4g}" for figure in (each.first, each.second, each.difference)]
        table.add_row(each.difference.name, *values, _interval(each.difference), f"{each.chance:.3f}", one)
    table.caption = "Chance: the share of random divisions of both sets that differ as much; from .05 on it is open."
    console = Console()
    console.print(table)
    _print_facts(console, [each.difference for each in compared], compared[0].provenance if compared else {})
    return 0


def _figures(estimates: Iterable[Estimate]) -> Table:
    table = Table("figure", "value", "95 % interval", "samples")
    for each in estimates:
        value = f"{each.value:.4g} {each.unit}".rstrip()
        table.add_row(_directed(each), value, _interval(each), evaluation.samples(each))
    return table


def _directed(estimate: Estimate) -> str:
    return estimate.name + {True: " ↑", False: " ↓", None: ""}[estimate.higher_is_better]


def _interval(estimate: Estimate) -> str:
    return " to ".join(f"{end:.4g}" for end in estimate.interval) if estimate.interval else "not known"


def _print_facts(console: Console, estimates: Iterable[Estimate], provenance: Mapping[str, str]) -> None:
    for remark in dict.fromkeys(remark for each in estimates for remark in each.remarks):
        console.print(remark, markup=False, style="yellow")
    facts = Table("", Column(overflow="fold"), show_header=False, box=None, style="dim")
    for key, value in provenance.items():
        facts.add_row(key, value)
    console.print(facts)


def _check(arguments: Sequence[str]) -> int:
    command = _parse(_Check, arguments, name="check")
    audit = check.audit(command.folder, track=partial(_track, description="Checking"))
    if command.json:
        print(audit.to_json())
    else:
        Console().print(check.table(audit))
    return 1 if audit.problems else 0


def _study(arguments: Sequence[str]) -> int:
    command = _parse_study(arguments)
    laboratory = plugins.find("study", command.name)
    if command.out and command.out.exists() and not command.out.is_dir():
        raise MisuseError(f"{command.out} is a file; give --out a folder.")
    folder = command.out or Path("studies", command.name)
    keeping = {"folder": folder} if "folder" in inspect.signature(laboratory.run).parameters else {}
    result = laboratory.run(command.laboratory, track=partial(_track, description="Studying"), **keeping)
    if command.json:
        print(json.dumps(report.plain(result.rows())))
    else:
        _print_rows(result.rows())
        Console().print(result.caption, markup=False, style="dim")
    if command.out or not command.json:
        for name, figure in result.figures().items():
            print(_drawn(figure, folder / f"{name}.png"), file=sys.stderr if command.json else sys.stdout)
    return 0


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each stretch of rows with the same keys and the same ``table``, which is its title.

    A line is drawn where the first column begins again. What is in ``note`` stands below.
    """
    console = Console()
    for (title, *keys), stretch in itertools.groupby(rows, key=lambda row: [row.get("table"), *row]):
        same = list(stretch)
        first, *others = (key for key in keys if key not in {"table", "note"})
        cells = [[_cell(row[key]) for key in (first, *others)] for row in same]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        columns = [
            Column(key.replace("_", " "), min_width=width) for key, width in zip(others, widths[1:], strict=True)
        ]
        table = Table(first.replace("_", " "), *columns, title=title)
        for row, texts, after in itertools.zip_longest(same, cells, same[1:]):
            again = after is not None and after[first] == same[0][first] != row[first]
            table.add_row(*map(Text, texts), end_section=again)
        whole = console.measure(table, options=console.options.update(width=1000)).maximum
        (console if console.is_terminal else Console(width=whole)).print(table)  # nothing is folded in a file
        for note in dict.fromkeys(f"{row[first]}: {row['note']}" for row in same if row.get("note")):
            console.print(note, markup=False, style="yellow")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # + 0.0 makes 0 of -0


def _drawn(figure: Any, path: Path) -> Path:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, drawn.getvalue())
    except OSError as error:
        raise ArzhangError(f"{path} cannot be written ({error.strerror}); give --out another folder.") from error
    return path


def _list(arguments: Sequence[str]) -> int:
    command = _parse(_List, arguments, name="list")
    about = {
        room: {name.replace("_", "-"): plugins.about(room, name) for name in plugins.names(room)}
        for room in plugins.ROOMS
    }
    if command.json:
        print(json.dumps(about, indent=2))
        return 0
    table = Table("", "name", "", show_header=False)
    for room, things in about.items():
        for i, (name, line) in enumerate(things.items()):
            table.add_row(room if i == 0 else "", name, line, end_section=i == len(things) - 1)
    Console().print(table)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "translate": _translate,
    "sample": _sample,
    "reconstruct": _reconstruct,
    "interpolate": _interpolate,
    "evaluate": _evaluate,
    "compare": _compare,
    "check": _check,
    "study": _study,
    "inspect": _inspect,
    "list": _list,
}


def _parse(kind: Any, arguments: Sequence[str], *, name: str, **values: Any) -> Any:
    told = {"description": cleandoc(kind.__doc__), **values}
    return tyro.cli(kind, args=arguments, prog=f"arzhang {name}", config=(tyro.conf.DisallowNone,), **told)


def _parse_run(kind: Any, arguments: Sequence[str]) -> Any:
    """Parse a command that holds a Run: the recipe, then a file, then the parts that flags name, then the flags."""
    name = kind.__name__.lower().strip("_")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--plugin", nargs="*", default=())
    early.add_argument("--data.root", type=Path, dest="root")
    early.add_argument("--data")
    try:
        given, rest = early.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise MisuseError(f"{error.argument_name} needs a value; see `arzhang {name} --help`.") from error
    recipe = next((argument for argument in rest[:1] if not argument.startswith("-")), None)
    help_wanted = {"-h", "--help"} & set(rest)
    if recipe is None and not help_wanted:
        raise MisuseError(
            f"Name a recipe first, as in `arzhang {name} pix2pix-small`; there are {', '.join(_recipes())}."
        )
    for module in given.plugin:
        plugins.join(module)
    recipe = recipe or "pix2pix"  # whose values the help shows
    run = from_recipe(recipe)
    if given.config:
        run = changed(run, config.read(given.config))
    run, rest = config.select_named(run, arguments)
    if given.root and not given.data:
        run = on_folder(run, given.root)
    run = length_from(run, {key for key in ("steps", "epochs") if f"--{key}" in rest})
    rest = ["--help"] if help_wanted else rest  # tyro's help leaves out what it has already read
    return _parse(kind, rest, name=name, default=kind(recipe=recipe, run=run))


def _parse_look(kind: Any, arguments: Sequence[str], *, name: str) -> Any:
    """Parse a command that looks through an extractor, which a flag may name."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--plugin", nargs="*", default=())
    for module in early.parse_known_args(arguments)[0].plugin:
        plugins.join(module)
    look, rest = config.select_named(_Looking(), arguments)
    return _parse(kind, rest, name=name, default=kind(look=look))


def _parse_study(arguments: Sequence[str]) -> Any:
    """Parse the command whose flags are those of the laboratory that is named first."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--plugin", nargs="*", default=())
    for module in early.parse_known_args(arguments)[0].plugin:
        plugins.join(module)
    name = next((argument for argument in arguments[:1] if not argument.startswith("-")), None)
    known = [each.replace("_", "-") for each in plugins.names("study")]
    help_wanted = {"-h", "--help"} & set(arguments)
    if name is None and not help_wanted:
        raise MisuseError(f"Name a laboratory first, as in `arzhang study {known[0]}`; there are {', '.join(known)}.")
    laboratory = plugins.find("study", name).Config() if name else None
    arguments = ["--help"] if help_wanted else arguments  # tyro's help leaves out what it has already read
    told = {"description": cleandoc(laboratory.__doc__)} if laboratory else {}
    default = _Study(name=name or "", laboratory=laboratory or _NoLaboratory())
    return _parse(_Study, arguments, name="study", default=default, **told)


def _track(items: Iterable[Any], *, description: str, total: int | None = None) -> Iterator[Any]:
    """Hand items on under a progress bar with a rate and the time left."""
    total = len(items) if isinstance(items, Sized) else total
    columns, console = (*Progress.get_default_columns(), _Rate()), Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=description)


@final
class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Return how many items a second were handed on lately."""
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s")


def _recipes() -> list[str]:
    return [name.replace("_", "-") for name in plugins.names("recipes")]

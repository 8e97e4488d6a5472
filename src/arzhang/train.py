"""Training: a game is played, and its run folder always holds what is needed to go on.

The loop is the same for every game: for each move, the loss is carried back to that player's parameters and to nobody
else's, that player's optimiser steps, and the game resumes.
"""

import copy
import fcntl
import itertools
import json
import math
import platform
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.amp import GradScaler

from arzhang import checkpoint, config, plugins, processes, report, rng
from arzhang.allocator import keep_memory
from arzhang.checkpoint import Checkpoint
from arzhang.evaluate import Score
from arzhang.files import write_whole
from arzhang.inference import check_precision, computing, pick_device
from arzhang.loading import batches
from arzhang.report import judging
from arzhang.run import Run, changed, from_recipe
from arzhang.types import ArzhangError, Batch, Dataset, Game, MisuseError, Move, Splits

NEUTRAL = {"workers", "keep", "log_every", "judge_every", "checkpoint_every", "data.cache"}
"""Keys of a Run that may differ when it goes on, since they change nothing that is learnt."""
LENGTH = {"steps", "epochs"}
"""Keys that may differ too, where the learning rate does not depend on them."""
STOPPING = (signal.SIGTERM, signal.SIGINT)
"""Signals that end a run between two steps; the first wins where processes were sent different ones."""
UNSCALED = GradScaler(enabled=False)
"""Leaves gradients as they are."""


@dataclass(kw_only=True, slots=True)
class State:
    """A run at one step: what a checkpoint holds, in its moving form.

    Args:
        game: The networks.
        optimisers: One for each player.
        scaler: What keeps gradients in the range of float16, where networks compute in it.
        average: The moving average of the networks, if one is kept.
        step: Rounds played so far; the one integer that progress is.
        kept: The step of the newest checkpoint, if there is one.
        best: The step and the value of the best held-out figure so far.
        origin: Whose weights it started from, if another run's.
    """

    game: nn.Module
    optimisers: Mapping[str, torch.optim.Adam]
    scaler: GradScaler = UNSCALED
    average: nn.Module | None = None
    step: int = 0
    kept: int = 0
    best: Mapping[str, Any] | None = None
    origin: str | None = None


def train(
    run: Run | str,
    *,
    data: Path | str | Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    init: Path | str | None = None,
    console: Console | None = None,
    **changes: Any,
) -> Path:
    """Train, or go on training, and return the run's folder, with its report.

    Ctrl-C and SIGTERM save the run, and then end it as they always do, with KeyboardInterrupt or status 143; the same
    call goes on from there. With more steps a finished run goes on as well, if its learning rate is constant.
    Where torchrun calls it in many processes, they train one run together, and process 0 writes it.

    Args:
        run: What to train, or the name of a recipe.
        data: A folder of pictures to train on instead of the recipe's data, or values of the data's Config, such as
            ``{"root": "facades/", "direction": "b-to-a"}``.
        out: Where the run's files are, ``runs/RECIPE`` by default. A folder that exists must be of the same run.
        init: Another run, from whose weights a new run starts.
        console: Where progress is shown; standard error by default.
        changes: Values of the Run that differ from the recipe's, nested as in a file.

    Raises:
        MisuseError: The folder is of another run, or the configuration contradicts itself.
        ArzhangError: The data cannot be read, a loss is not finite, or the disk is full. What the run has is kept.
        KeyboardInterrupt: Ctrl-C.

    Example:
        >>> train("pix2pix-smal", steps=5000)
        Traceback (most recent call last):
        arzhang.types.MisuseError: There is no 'pix2pix-smal' in recipes; did you mean pix2pix-small?
    """
    console = console or Console(stderr=True)
    folder = Path(out or Path("runs", run if isinstance(run, str) else plugins.address(run.model).partition(".")[2]))
    run = from_recipe(run) if isinstance(run, str) else run
    if data is not None:
        changes["data"] = data if isinstance(data, Mapping) else {"root": data}
    run = changed(run, changes)
    run.check()
    keep_memory()
    with processes.joined(pick_device(run.device)) as device:
        check_precision(run.precision, device)
        splits = run.data.build(seed=run.seed)
        torch.manual_seed(rng.seed_of(run.seed, "weights"))
        state = begin(run, device)
        _check_sides(state.game, splits.held_out)
        if init and not checkpoint.steps(folder / "checkpoints"):
            start_from(state, Path(init))
        with _writing(folder):
            _compare(run, folder)
        writing = processes.rank() == 0
        with _locked(folder) if writing else nullcontext(), computing(run.precision, device) as autocast:
            _go_on(
                state,
                splits,
                run=run,
                folder=folder,
                init=init,
                device=device,
                autocast=autocast,
                console=console if writing else Console(quiet=True),
            )
    return folder


def _go_on(
    state: State,
    splits: Splits,
    *,
    run: Run,
    folder: Path,
    init: Path | str | None,
    device: torch.device,
    autocast: torch.autocast,
    console: Console,
) -> None:
    """Train from where the folder's run is to its end, or until it is asked to stop."""
    say = partial(console.print, markup=False, soft_wrap=True)  # a path stays in one piece
    length = run.length(len(splits.train))
    saved = _resume(state, run, folder, init, say)
    if state.step >= length:
        say(f"This run is finished, with {state.step:,} steps; more --steps go on from there.")
        return
    writing = processes.rank() == 0
    if writing:
        with _writing(folder):
            config.save(run, folder / "config.json", made_with=_versions())
    say(
        f"Training on {len(splits.train):,} examples of {plugins.address(run.data)}, {len(splits.held_out):,} held out."
    )
    if saved:
        say(f"Going on from step {state.step:,} of {length:,}.")
    judge = judging.judge(state.game, splits)
    score = None
    if run.best not in judge.own:
        score = Score.of(run.best, features=run.features, weights=run.weights, device=device)
        if score.look and not judge.paired:
            raise MisuseError(
                f"{run.best} compares a picture with what it should be, which nobody knows of two piles: give --best "
                f"{' or '.join(judge.own)}, or a metric of sets such as kid."
            )
        score(judge.targets, judge.targets)  # what cannot be judged is said now, and not after the first thousand steps
    log = None
    if writing:
        with _writing(folder):
            before = saved.state["terms"] if saved else {}
            log = Log(folder / "log.jsonl", batch=run.batch, step=state.step, terms=before)
    source = batches(
        splits.train,
        size=run.batch,
        seed=run.seed,
        steps=range(state.step, length),
        workers=run.workers,
        part=processes.rank(),
        parts=processes.size(),
    )
    terms = Terms(folder)
    keep = partial(_keep, state, terms, log, run=run, folder=folder)
    game = twin(state.game, compile=run.compile)
    rank = [processes.rank()] if processes.rank() else []

    with _stop_signals() as stop, _progress(console) as progress:
        note = "starting"
        task = progress.add_task("Training", total=length, completed=state.step, note=note)
        for batch in _or_keep(source, keep, stop):
            rate = run.rate_at(state.step, len(splits.train))
            torch.manual_seed(rng.seed_of(run.seed, "step", state.step, *rank))
            if isinstance(getattr(game, "step", None), int):
                game.step = state.step  # type: ignore[attr-defined]
            moves = play(
                game,
                batch.to(device),
                state.optimisers,
                rate=rate,
                autocast=autocast,
                scaler=state.scaler,
                divide=run.accumulate,
            )
            terms.add(moves, state.step)
            if state.average:
                _follow(state.average, state.game, decay=run.ema, step=state.step)
            state.step += 1
            last = state.step == length
            judged = last or state.step % run.judge_every == 0
            with _writing(folder):
                if last or state.step % run.log_every == 0:
                    terms.tell(log)
                    note = log.write(state.step, rate=rate) if log else ""
                if judged:
                    terms.tell(log)
                    progress.update(task, completed=state.step, note=f"judging the held-out {judge.kind}")
                    _look(state, judge, score, log, run=run, folder=folder, device=device)
            if judged or state.step % run.checkpoint_every == 0:
                keep()
            progress.update(task, completed=state.step, note=note)
    if stop and state.step < length:
        say(f"Stopped by {stop[0].name} at step {state.step:,} of {length:,}. All is saved; the same command goes on.")
        processes.wait()  # or torchrun would end the one that says it, since another has ended
        raise KeyboardInterrupt if stop[0] == signal.SIGINT else SystemExit(128 + stop[0])


def play(
    game: Game,
    batch: Batch,
    optimisers: Mapping[str, torch.optim.Optimizer],
    *,
    rate: float,
    autocast: torch.autocast,
    scaler: GradScaler = UNSCALED,
    divide: int = 1,
) -> Iterator[Move]:
    """Play one round: yield each move, then make it, moving that player's parameters and nobody else's.

    Args:
        game: What is played.
        batch: What it is played on.
        optimisers: What moves each player.
        rate: Their learning rate.
        autocast: What forward passes compute in.
        scaler: What keeps gradients in the range of their numbers.
        divide: Into how many parts, played one after another; the one player then moves by the mean gradient.

    Raises:
        MisuseError: A batch is divided in whose parts there are several moves, each of which answers the one before.
    """
    for number, part in enumerate(batch.split(divide), start=1):
        turns, last = game.play(part), number == divide
        for count in itertools.count():
            with autocast, nullcontext() if last else processes.apart(cast("nn.Module", game)):
                move = next(turns, None)
            if move is None:
                break
            if count and divide > 1:
                raise MisuseError("To accumulate gradients asks for one move a round: leave --accumulate out.")
            yield move
            optimiser = optimisers[move.player]
            (group,) = optimiser.param_groups
            group["lr"] = rate
            scaler.scale(move.loss / divide).backward(inputs=group["params"])
            if last:
                scaler.step(optimiser)
                scaler.update()
                optimiser.zero_grad()


def twin(game: nn.Module, *, compile: bool = False) -> Game:  # noqa: A002
    """Return the same game, its networks compiled, if asked, and averaging their gradients over all processes.

    The game that was given stays as it is, and has the same parameters.
    """
    wrapped = {
        name: processes.averaging(cast("nn.Module", torch.compile(network)) if compile else network)
        for names in cast("Game", game).players.values()
        for name in names
        for network in [game.get_submodule(name)]
    }
    made = copy.copy(game)
    made._modules = {**game._modules, **wrapped}  # noqa: SLF001
    return cast("Game", made)


def begin(run: Run, device: torch.device) -> State:
    """Make a run's networks, from the global generator, and what moves them.

    Raises:
        MisuseError: Gradients are to be accumulated, and there are several players, or no equal parts.
    """
    pieces = run.accumulate * processes.size()
    if run.batch % pieces:
        raise MisuseError(
            f"A batch of {run.batch} cannot be divided among {processes.size()} processes and there into "
            f"{run.accumulate} equal parts: give --batch a multiple of {pieces}."
        )
    game = run.model.build().to(device).train()
    players = cast("Game", game).players
    if run.accumulate > 1 and len(players) > 1:
        raise MisuseError(
            f"To accumulate gradients asks for one player, and here are {', '.join(players)}, who answer one another "
            "within a batch: leave --accumulate out, and give a smaller --batch."
        )
    optimisers = {
        player: torch.optim.AdamW(
            [parameter for name in names for parameter in game.get_submodule(name).parameters()],
            lr=run.optimiser.rate,
            betas=run.optimiser.betas,
            weight_decay=run.optimiser.weight_decay,
            fused=True,
        )
        for player, names in players.items()
    }
    return State(
        game=game,
        optimisers=optimisers,
        scaler=GradScaler(device.type, enabled=run.precision == "float16"),
        average=copy.deepcopy(game) if run.ema else None,
    )


@torch.no_grad()
def _follow(average: nn.Module, game: nn.Module, *, decay: float, step: int) -> None:
    """Move the average towards the weights: the first time all the way, then for a while faster than ``decay`` says."""
    decay = min(decay, (1 + step) / (10 + step)) if step else 0.0
    torch._foreach_lerp_([*average.parameters()], [*game.parameters()], 1 - decay)
    mine, now = average.state_dict(), game.state_dict()
    for name in mine.keys() & dict(game.named_buffers()).keys():
        mine[name].copy_(now[name])


def parts(state: State) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a checkpoint."""
    moments = {
        f"{player}.{index}.{name}": tensor
        for player, optimiser in state.optimisers.items()
        for index, moment in optimiser.state_dict()["state"].items()
        for name, tensor in moment.items()
    }
    average = {"ema": state.average.state_dict()} if state.average else {}
    return {"model": state.game.state_dict(), "optimiser": moments, **average}


def own(state: State) -> dict[str, dict[str, Tensor]]:
    """Return the part that each process adds to a checkpoint: buffers that are no weights, such as past pictures."""
    weights = state.game.state_dict()
    found = {name: buffer for name, buffer in state.game.named_buffers() if name not in weights}
    return {f"process-{processes.rank()}": found} if found else {}


def restore(state: State, saved: Checkpoint) -> None:
    """Bring a fresh state to where a checkpoint of the same run was."""
    state.step = state.kept = saved.step
    state.best, state.origin = saved.state["best"], saved.state["origin"]
    checkpoint.load(state.game, saved.tensors("model"), path=saved.path)
    moments: dict[str, dict[int, dict[str, Tensor]]] = {player: {} for player in state.optimisers}
    for key, tensor in saved.tensors("optimiser").items():
        player, index, name = key.rsplit(".", 2)
        moments[player].setdefault(int(index), {})[name] = tensor
    for player, optimiser in state.optimisers.items():
        optimiser.load_state_dict(optimiser.state_dict() | {"state": moments[player]})
    state.scaler.load_state_dict(saved.state.get("scaler", {}))
    if state.average:
        state.average.load_state_dict(saved.tensors("ema"))
    for part, buffers in own(state).items():
        remembered = saved.tensors(part)
        for path, buffer in buffers.items():
            module, _, name = path.rpartition(".")
            setattr(state.game.get_submodule(module), name, remembered[path].to(buffer.device))  # of any shape


def start_from(state: State, init: Path) -> None:
    """Take over the weights of another run's newest checkpoint.

    Raises:
        MisuseError: There is none, or its networks are of other shapes.
    """
    saved, damaged = checkpoint.newest(init / "checkpoints")
    for sentence in damaged:
        warnings.warn(f"{sentence} Starting from the one before.", stacklevel=3)
    if saved is None:
        raise MisuseError(f"{init} has no checkpoint to start from; give --init the folder of a run that was trained.")
    try:
        checkpoint.load(state.game, saved.tensors("model"), path=init)
    except ArzhangError as error:
        raise MisuseError(f"{error} Give --init a run with the same networks.") from error
    state.origin = f"{init}, step {saved.step}"


class Terms:
    """The terms of losses since they were last told: until then they stay where they were computed.

    To look at them makes the machine wait for the GPU, and the processes for one another.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[tuple[int, str, str]] = []  # step, player, term
        self.values: list[Tensor] = []

    def add(self, moves: Iterable[Move], step: int) -> None:
        """Make the moves of a step and remember their terms."""
        for move in moves:
            for name, value in {**move.terms, "loss": move.loss}.items():
                self.names.append((step, move.player, name))
                self.values.append(value.detach().to(torch.float32, copy=True))  # a game may go on to change it

    def tell(self, log: "Log | None") -> None:
        """Hand their means over all processes to the log of the process that has one, if all are finite.

        Raises:
            ArzhangError: One is not.
        """
        if not self.names:
            return
        # In float64, since gloo adds up in an order that depends on how many there are, and resume is exact.
        names, totals = self.names, processes.total(torch.stack(self.values).double())
        self.names, self.values = [], []
        means = (totals.cpu() / processes.size()).tolist()
        for (step, player, name), value in zip(names, means, strict=True):
            if not math.isfinite(value):
                raise _nonsense(f"In step {step + 1} the term {name!r} of the {player} became {value}.", self.folder)
            if log and name != "loss":
                log.add(name, value)


class Log:
    """The file log.jsonl: a line for each logged step, with the means of all terms since the line before."""

    def __init__(self, path: Path, *, batch: int, step: int, terms: Mapping[str, Sequence[float]]) -> None:
        """Open the log, and cut back what a run wrote after the step from which it goes on.

        Args:
            path: Where it is.
            batch: Examples in a batch.
            step: Where the run is.
            terms: What was added since the last line.
        """
        self.path, self.batch, self.step = path, batch, step
        self.terms = {name: list(values) for name, values in terms.items()}
        self.since = time.perf_counter()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        kept = [f"{line}\n" for line in lines if _step_of(line) <= step]
        write_whole(path, "".join(kept).encode())

    def add(self, name: str, value: float) -> None:
        """Remember a term."""
        self.terms.setdefault(name, []).append(value)

    def write(self, step: int, **more: float) -> str:
        """Write a line and return it in short."""
        now = time.perf_counter()
        speed = (step - self.step) * self.batch / (now - self.since)
        terms = {name: sum(values) / len(values) for name, values in self.terms.items()}
        self.append({"step": step, **terms, **more, "images_per_second": speed})
        self.step, self.since, self.terms = step, now, {}
        return " ".join([f"{speed:.1f} images/s", *(f"{name} {value:.2f}" for name, value in terms.items())])

    def append(self, record: Mapping[str, float]) -> None:
        """Write one line as it is."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _step_of(line: str) -> float:
    try:
        step: float = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # torn when the run was killed
        return math.inf
    return step


def _resume(
    state: State, run: Run, folder: Path, init: Path | str | None, say: Callable[[str], None]
) -> Checkpoint | None:
    """Go to the newest whole checkpoint, if there is one, and remove what is newer: damage and unfinished writing."""
    saved, damaged = checkpoint.newest(folder / "checkpoints")
    for sentence in damaged:
        say(f"{sentence} Going back to the one before.")
    if saved:
        before = saved.state.get("processes", 1)
        if before != processes.size():
            raise MisuseError(
                f"{folder} holds a run of processes: {before}, not {processes.size()}, on whose number dropout and "
                f"batch norm depend. Start {before}, or give --out another folder for a new run, with --init {folder} "
                "to start from its weights."
            )
        restore(state, saved)
        if init and not (state.origin or "").startswith(f"{Path(init)}, step "):
            raise MisuseError(
                f"{folder} holds a run that started from {state.origin or 'fresh weights'}, not from {init}. "
                "Leave --init out to go on, or give --out another folder for a new run."
            )
    if processes.total(torch.tensor(float(state.step))) != state.step * processes.size():
        raise MisuseError(f"The processes find different checkpoints in {folder}; give --out a folder that all share.")
    if saved and processes.rank() == 0:
        _prune(state, run, folder)
    return saved


def _look(
    state: State,
    judge: judging.Judge,
    score: Score | None,
    log: Log | None,
    *,
    run: Run,
    folder: Path,
    device: torch.device,
) -> None:
    """Judge what has been learnt, together, and write it into the log, the samples and the report."""
    judged = state.average or state.game
    with computing("float32", device):
        judgement = judge(judged.eval(), device)  # or a spectral norm, say, would go on while it is judged
    for name, value in judgement.logged.items():
        if not math.isfinite(value):
            raise _nonsense(f"After step {state.step} the held-out {name} is {value}.", folder)
    found = score(judgement.outputs, judge.targets) if score else judgement.figures[run.best]
    known = state.best is not None and math.isfinite(state.best["value"])
    if state.best is None or not known or (math.isfinite(found.value) and Score.better(found, state.best["value"])):
        state.best = {
            "step": state.step,
            "value": found.value,
            "name": found.name,
            "higher_is_better": found.higher_is_better,
        }
    if log:
        figures = {found.name: found.value, **judgement.logged}
        log.append({"step": state.step, **{f"held_out_{name}": value for name, value in figures.items()}})
        judgement.save_samples(folder / "samples" / f"{state.step:08d}.png")
        page = judgement.report(
            run=config.to_dict(run),
            log=log.path,
            step=state.step,
            best=state.best,
            provenance=_provenance(run, folder, device) | ({"started from": state.origin} if state.origin else {}),
        )
        report.write(page, folder)
    state.game.train()


def _keep(state: State, terms: Terms, log: Log | None, *, run: Run, folder: Path) -> None:
    """Save what has been learnt, if all of it is finite, and remove the checkpoints that are no longer needed.

    The process that has the log does so, and the others add what is their own.
    """
    terms.tell(log)
    if state.step != state.kept:
        tensors = {**(parts(state) if log else {}), **own(state)}
        for part, named in tensors.items():
            for name, tensor in named.items():
                if not tensor.isfinite().all():
                    raise _nonsense(f"After step {state.step} {name} of the {part} is not finite.", folder)
        values = {
            "best": state.best,
            "origin": state.origin,
            "processes": processes.size(),
            "scaler": state.scaler.state_dict(),
            "terms": log.terms if log else {},
        }
        checkpoint.save(folder / "checkpoints", step=state.step, parts=tensors, state=values)
        state.kept = state.step
        if log:
            _prune(state, run, folder)
    processes.wait()


def _prune(state: State, run: Run, folder: Path) -> None:
    best = state.best["step"] if state.best else None
    checkpoint.prune(folder / "checkpoints", newest=state.step, keep=run.keep, best=best)


def _nonsense(found: str, folder: Path) -> ArzhangError:
    saved = checkpoint.steps(folder / "checkpoints")
    good = f"its last good checkpoint is of step {saved[-1]}" if saved else "it has no checkpoint yet"
    return ArzhangError(
        f"{found} The run is stopped; {good}. A lower --optimiser.rate, or --precision float32, may help."
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say it in a sentence when a run's folder takes no more."""
    try:
        yield
    except OSError as error:
        raise ArzhangError(
            f"The run folder {folder} cannot be written ({error.strerror}); what was saved is intact. Make room and "
            "start the same command again, or give --out another folder."
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a run's folder this process's alone, not its workers', until it ends, however it ends."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MisuseError(f"Another training is using {folder}; wait for it, or give --out another one.") from error
        yield


def _check_sides(game: nn.Module, examples: Dataset) -> None:
    """Refuse pictures that the networks cannot halve as often as they do, before there is a folder."""
    multiple, least = getattr(game, "multiple", 1), getattr(game, "least", 1)
    if multiple == least == 1:
        return
    example = examples.example(0, None)
    for name in sorted(example.keys() & {"source", "target", "a", "b"}):  # others refuse data of another kind
        sides = example[name].shape[1:]
        if any(side % multiple or side < least for side in sides):
            good = max(math.ceil(min(sides) / multiple) * multiple, least)
            raise MisuseError(
                f"The pictures of {name} have {' x '.join(map(str, sides))} pixels, and the networks take sides that "
                f"are multiples of {multiple}, at least {max(multiple, least)}: give data of such a size, as with "
                f"--data.size {good}, or other networks, as with another --model.generator.depth of a U-Net."
            )


def _compare(run: Run, folder: Path) -> None:
    """Refuse a folder of another run in which something was learnt, or of something else."""
    if not (folder / "config.json").exists():
        return
    try:
        before, now = config.flat(config.from_dict(Run, config.read(folder))), config.flat(run)
    except MisuseError as error:
        raise MisuseError(f"{folder} is not a run's: {error} Give --out another folder.") from error
    constant = now["optimiser.schedule"] == "constant"
    for key in {**before, **now} if checkpoint.steps(folder / "checkpoints") else ():
        if key in NEUTRAL or (constant and key in LENGTH) or before.get(key) == now.get(key):
            continue
        why = "" if key not in LENGTH else f", on which its {now['optimiser.schedule']} learning rate depends"
        raise MisuseError(
            f"{folder} holds a run of another configuration: its {key} is {before.get(key)!r}, "
            f"not {now.get(key)!r}{why}. Give --out another folder for a new run, with --init {folder} to start from "
            "its weights."
        )


def _or_keep(source: Generator[Batch], keep: Callable[[], None], stop: list[signal.Signals]) -> Iterator[Batch]:
    """Hand batches on until any process is told to stop or has no more data; then save the run before saying so.

    A scheduler that stops the run may also end the processes that load; that is no failure.
    """

    def agree(failure: ArzhangError | None) -> tuple[bool, list[signal.Signals]]:
        """Return whether the data failed any process, and the signals that any was sent, in all of them the same."""
        known = torch.tensor([failure is not None, *(number in stop for number in STOPPING)], dtype=torch.float64)
        failed, *sent = processes.total(known).tolist()
        return bool(failed), [number for number, seen in zip(STOPPING, sent, strict=True) if seen]

    with closing(source):
        while True:
            batch, failure = None, None
            try:
                batch = next(source, None)
            except ArzhangError as error:
                failure = error
            failed, stopping = agree(failure)
            if failed or stopping:
                keep()
                _, stopping = agree(failure)  # the signal may have come after its effect
            if stopping:
                stop[:] = stopping
                return
            if failed:
                if failure is None:
                    processes.wait()  # for the one that failed, which ends when it has said why
                raise failure or processes.another_ended()
            if batch is None:
                return
            yield batch


@contextmanager
def _stop_signals() -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one ends a run of one process at once.

    Many get a second one from torchrun when a scheduler has sent the first to all of them.
    """
    seen: list[signal.Signals] = []

    def handle(number: int, _: FrameType | None) -> None:
        if seen and processes.size() == 1:
            raise KeyboardInterrupt
        seen.append(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        BarColumn(bar_width=12),  # all of it fits into 80 columns
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left, {task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


def _versions() -> dict[str, str]:
    return {"arzhang": version("arzhang"), "torch": torch.__version__, "python": platform.python_version()}


def _provenance(run: Run, folder: Path, device: torch.device) -> dict[str, str]:
    many = {"processes": str(processes.size())} if processes.size() > 1 else {}
    return {
        "run": folder.resolve().name,
        "model": plugins.address(run.model),
        "data": plugins.address(run.data),
        "seed": str(run.seed),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, threads: {torch.get_num_threads()}",
        **many,
        **_versions(),
    }

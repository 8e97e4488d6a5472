"""Many processes train one run: as one process would, with one voice, and to one end.

What ends a run is tried on the command itself; elsewhere processes are forks of one that has imported everything.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import pairs

from arzhang import images, processes, rng
from arzhang.loading import batches
from arzhang.report import translation
from arzhang.types import MisuseError

# Neither dropout (depth 4 has none) nor batch norm, and no bias whose gradient would be rounding noise.
PLAIN = """
    --model.generator.depth 4 --model.generator.width 4 --model.generator.norm instance
    --model.discriminator.layers 1 --model.discriminator.width 4 --model.discriminator.norm none
"""
# Both.
RANDOM = """
    --model.generator.depth 5 --model.generator.width 4 --model.discriminator.layers 1 --model.discriminator.width 4
"""
RUN = "--batch 4 --data.size 32 --device cpu --ema .9 --log-every 1"
FACADES = "--data.count 8 --data.held-out 3"
PLUGINS = os.pathsep.join([str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PLUGINS}
FORKING = """
import importlib, json, os, signal, sys
import matplotlib.figure, torch._dynamo  # which every process would import anew
from safetensors.torch import save_file
from arzhang.cli import main
train = importlib.import_module("arzhang.train")  # arzhang.train is the function
begin, states = train.begin, []
train.begin = lambda *given: states.append(begin(*given)) or states[0]
torch.set_num_threads(1)
for line in sys.stdin:
    arguments, said, environments = json.loads(line)
    for environment in environments:
        if os.fork() == 0:
            signal.alarm(60)  # a run that hangs fails its test
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(2, 1)
            os.environ.update(environment)
            status = main(arguments)
            save_file(dict(states[0].game.named_parameters()), f"{said}.{environment['RANK']}")
            sys.exit(status)
    print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in environments], flush=True)
"""


@pytest.fixture(scope="module")
def forks():
    with subprocess.Popen([sys.executable, "-c", FORKING], stdin=-1, stdout=-1, text=True, env=ALONE) as process:
        yield process
        process.stdin.close()


def go(forks, folder, flags, *, processes=2):
    """Train in forks to the end, and return what they said."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(door.getsockname()[1]), "WORLD_SIZE": str(processes)}
    said = folder.with_suffix(".forks")
    environments = [{**shared, "RANK": str(rank)} for rank in range(processes)]
    print(json.dumps([command(folder, flags), str(said), environments]), file=forks.stdin, flush=True)
    assert json.loads(forks.stdout.readline()) == [0] * processes, said.read_text()
    return said.read_text()


def command(folder, flags):
    return f"train demo {RUN} {flags} --out {folder}".split()


def start(folder, flags, *, processes=2):
    """Start the command; what it says goes to a file beside its folder."""
    many = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with folder.with_suffix(".said").open("w") as said:
        return subprocess.Popen([*many, "-m", "arzhang", *command(folder, flags)], stdout=said, stderr=said, env=ALONE)


def end(process, folder):
    """Wait for the end, and return the status and what was said."""
    try:
        status = process.wait(60)
    finally:
        process.kill()
    return status, folder.with_suffix(".said").read_text()


def children(process):
    """The processes that torchrun has started, by their number."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, found), key=lambda child: re.search(r"\0RANK=(\d+)", environment(child))[1])


def environment(process):
    return Path(f"/proc/{process}/environ").read_text()


def until_step(folder, step):
    deadline = time.monotonic() + 60
    while not (folder / f"checkpoints/{step:08d}").exists():
        assert time.monotonic() < deadline, folder.with_suffix(".said").read_text()
        time.sleep(0.01)


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def checkpoints(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("checkpoints/*/*")}


def assert_same(folder, other):
    assert len(checkpoints(folder)) >= 4
    assert checkpoints(folder) == checkpoints(other)
    assert log(folder) == log(other)


# What is learnt


def test_two_processes_learn_what_one_does(forks, tmp_path, arzhang):
    flags = f"{PLAIN} {FACADES} --steps 8 --judge-every 4"
    go(forks, tmp_path / "two", flags)
    assert arzhang(*command(tmp_path / "one", flags)).status == 0
    for part in ("model", "ema", "optimiser"):
        one, two = (load_file(tmp_path / name / f"checkpoints/00000008/{part}.safetensors") for name in ("one", "two"))
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, rel=1e-5)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert reports[1]["provenance"].pop("processes") == "2"
    assert reports[1]["provenance"].keys() == reports[0]["provenance"].keys()
    one, two = (images.read(tmp_path / name / "samples/00000008.png").pixels for name in ("one", "two"))
    assert abs(one.astype(int) - two).max() <= 1


def test_the_weights_of_all_processes_stay_the_same_where_they_draw_and_are_penalised(forks, tmp_path):
    penalised = "--model.adversarial wgan-gp --model.discriminator.norm instance --optimiser.rate .01"
    go(forks, tmp_path / "run", f"{RANDOM} {penalised} {FACADES} --steps 6")
    first, second = (load_file(tmp_path / f"run.forks.{rank}") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    saved = load_file(tmp_path / "run/checkpoints/00000006/model.safetensors")
    assert all(torch.equal(first[name], saved[name]) for name in first)


def test_a_batch_in_parts_teaches_two_processes_what_the_whole_does(forks, tmp_path):
    for parts in (1, 2):
        go(forks, tmp_path / str(parts), f"--plugin painter --model painter {FACADES} --steps 6 --accumulate {parts}")
    for part in ("model", "ema", "optimiser"):
        whole, divided = (load_file(tmp_path / name / f"checkpoints/00000006/{part}.safetensors") for name in "12")
        torch.testing.assert_close(divided, whole, rtol=1e-4, atol=1e-6)


def test_gradients_stay_apart_until_the_last_part():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        game = torch.nn.Sequential(torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1)))
        with processes.apart(game):
            assert not game[0].require_backward_grad_sync
        assert game[0].require_backward_grad_sync
    finally:
        torch.distributed.destroy_process_group()


def test_the_log_does_not_depend_on_when_three_processes_save(forks, tmp_path):
    for every in (3, 100):
        flags = f"{RANDOM} {FACADES} --batch 6 --steps 22 --log-every 20 --checkpoint-every {every}"
        go(forks, tmp_path / str(every), flags, processes=3)
    assert log(tmp_path / "3") == log(tmp_path / "100")


class Numbers:
    def __len__(self):
        return 7

    def example(self, index, generator):
        return {"index": torch.tensor(index), "drawn": torch.rand(2, generator=generator)}

    def name(self, index):
        return str(index)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_parts_of_a_batch_are_the_batch(parts):
    whole = batches(Numbers(), size=6, seed=0, steps=range(3))
    shares = [batches(Numbers(), size=6, seed=0, steps=range(3), part=part, parts=parts) for part in range(parts)]
    for batch, *divided in zip(whole, *shares, strict=True):
        for name in batch:
            assert all(len(part[name]) == 6 // parts for part in divided)
            assert torch.equal(batch[name], torch.cat([part[name] for part in divided]))


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(MisuseError, match=r"A batch of 3 cannot be divided among 2 processes: give --batch a multiple"):
        next(batches(Numbers(), size=3, seed=0, steps=range(3), part=0, parts=2))


# How it ends


@pytest.mark.parametrize("processes", [2, 3])
def test_a_run_whose_process_is_killed_ends_within_a_minute_and_goes_on_exactly(forks, tmp_path, arzhang, processes):
    flags = f"{RANDOM} {FACADES} --batch 6 --steps 60 --checkpoint-every 10"
    go(forks, tmp_path / "undisturbed", flags, processes=processes)
    folder = tmp_path / "killed"
    process = start(folder, flags, processes=processes)
    until_step(folder, 20)
    if processes == 2:
        os.kill(children(process)[1], signal.SIGKILL)
    else:  # as a scheduler does
        for each in (process.pid, *children(process)):
            os.kill(each, signal.SIGTERM)
    status, said = end(process, folder)
    assert status != 0
    assert "arzhang/train.py" not in said  # no traceback of ours; torchrun prints its own
    if processes == 2:
        assert "arzhang: Another process of this command failed or was ended" in said
        step = 10 * (len(log(folder)) // 10)
    else:
        step = int(re.search(r"Stopped by SIGTERM at step (\d+) of 60\. All is saved", said)[1])
    assert 20 <= step < 60
    assert f"Going on from step {step} of 60" in go(forks, folder, flags, processes=processes)
    assert_same(folder, tmp_path / "undisturbed")
    refused = arzhang(*command(folder, flags))
    assert refused.status == 2
    assert f"holds a run of processes: {processes}, not 1" in refused.err


def test_a_corrupt_picture_of_one_process_saves_the_run_and_is_named(tmp_path):
    many = translation.MOST_PAIRS + 8  # of which the judge looks at the most, but not at all
    root = pairs(pairs(tmp_path / "photos", count=many), count=1, split="val")
    order = torch.randperm(many, generator=rng.generator(0, "order", 0)).tolist()
    seen = {index * many // translation.MOST_PAIRS for index in range(translation.MOST_PAIRS)}
    place = next(place for place in range(4, many) if order[place] not in seen and place % 4 >= 2)  # of process 1
    path = root / f"A/train/{order[place]:03}.png"
    path.write_bytes(path.read_bytes()[:200])
    folder = tmp_path / "run"
    status, said = end(start(folder, f"{RANDOM} --data.root {root} --data.cache 0 --steps 52"), folder)
    assert status != 0
    assert re.search(rf"arzhang: .*{path.name}", said)
    assert "arzhang: Another process of this command failed" in said
    assert "arzhang/train.py" not in said
    assert [saved.name for saved in (folder / "checkpoints").iterdir()] == [f"{place // 4:08d}"]

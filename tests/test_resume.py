"""A run that is killed, or stopped, at any instant and started again ends with the same bytes as one that was not.

Most runs here are forks of one process that has imported everything, which is the command but for seconds of imports;
the undisturbed run, the last restart of one that was killed and one that is stopped are the command itself.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = 60
# depth 5 has dropout; every third step is logged, so that checkpoints fall between the lines of the log
FLAGS = f"""
    --model.generator.depth 5 --model.generator.width 4 --model.discriminator.layers 1 --model.discriminator.width 4
    --data.size 32 --data.count 8 --data.held-out 2 --steps {STEPS} --ema .9 --device cpu
    --checkpoint-every 2 --judge-every 20 --log-every 3
""".split()
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


class Life:
    """One start of the command, which can be watched and ended; its status and what it said afterwards."""

    def __init__(self, forks, folder, *flags):
        self.forks, self.folder = forks, folder
        self.errors = folder.with_suffix(".stderr")
        self.errors.unlink(missing_ok=True)
        (self.group,) = forks.start(["train", "pix2pix-small", *FLAGS, *flags, "--out", folder], self.errors)

    def wait(self, reached):
        """Wait until the checkpoints folder's listing is as asked; tell whether it was before the end."""
        deadline = time.monotonic() + 60
        while not reached(listing(self.folder)):
            assert time.monotonic() < deadline, self.errors.read_text()
            if listing(self.folder)[-1:] == [f"{STEPS:08d}"]:
                return False
        return True

    def end(self, number):
        os.killpg(self.group, number)
        return self.close()

    def close(self):
        (status,) = self.forks.end()
        return status, self.errors.read_text()


def command(folder):
    """Run the command itself to its end and return what it said."""
    words = [sys.executable, "-m", "arzhang", "train", "pix2pix-small", *FLAGS, "--out", folder]
    ended = subprocess.run(words, capture_output=True, text=True, env=ALONE, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    command(folder)
    return folder


def listing(folder):
    try:
        return sorted(path.name for path in (folder / "checkpoints").iterdir())
    except FileNotFoundError:
        return []


def newest(names):
    return max((int(name) for name in names if name.isdigit()), default=0)


def children(process):
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def running(process):
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def assert_same(folder, other):
    for kind in ("checkpoints/*/*", "samples/*"):
        files = {path.relative_to(folder): path.read_bytes() for path in folder.glob(kind)}
        assert len(files) >= 3
        assert files == {path.relative_to(other): path.read_bytes() for path in other.glob(kind)}
    assert log(folder) == log(other)
    assert [line["step"] for line in log(folder) if "d" in line] == list(range(3, STEPS + 1, 3))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_ten_instants_ends_with_the_same_bytes(forks, undisturbed, tmp_path, workers):
    draw, folder = random.Random(workers), tmp_path / "killed"
    torn, starts = 0, []
    for kill in range(10):
        life, start = Life(forks, folder, "--workers", str(workers)), newest(listing(folder))
        writing = f".{start + 4:08d}.writing"
        if kill % 2:  # while a checkpoint is written
            reached = life.wait(lambda names: writing in names or newest(names) >= start + 4)  # noqa: B023
        else:
            reached = life.wait(lambda names: newest(names) >= start + 2)  # noqa: B023
            time.sleep(draw.uniform(0, 0.03))
        assert reached
        status, said = life.end(signal.SIGKILL)
        assert status == -signal.SIGKILL
        torn += any(name.endswith(".writing") for name in listing(folder))
        starts += map(int, re.findall(r"Going on from step (\d+)", said))
    said = Life(forks, folder, "--workers", str(workers)).close()[1] if workers else command(folder)
    starts += map(int, re.findall(r"Going on from step (\d+)", said))
    assert torn > 0
    assert len(starts) == 10
    assert 0 < starts[0] < starts[-1] < STEPS
    assert starts == sorted(starts)
    assert_same(folder, undisturbed)


@pytest.mark.parametrize(
    ("number", "status", "workers"), [(signal.SIGINT, 130, 0), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 2)]
)
def test_a_stopped_run_saves_says_so_and_goes_on(forks, undisturbed, tmp_path, number, status, workers):
    folder = tmp_path / "stopped"
    life = Life(forks, folder, "--workers", str(workers), "--checkpoint-every", "1000")
    while not (folder / "log.jsonl").exists() or not (folder / "log.jsonl").read_text().endswith("\n"):
        time.sleep(0.001)
    seen = log(folder)[-1]["step"]
    ended, said = life.end(number)
    assert ended == status
    assert "Traceback" not in said
    step = int(re.search(rf"Stopped by {number.name} at step (\d+) of {STEPS}\. All is saved", said)[1])
    assert step >= seen  # the step after which the signal was noticed, at once or one later
    assert listing(folder)[-1] == f"{step:08d}"
    assert f"Going on from step {step} of {STEPS}" in Life(forks, folder).close()[1]
    assert_same(folder, undisturbed)


def test_a_scheduler_that_ends_every_process_stops_the_run_as_well(forks, undisturbed, tmp_path):
    folder = tmp_path / "stopped"
    life = Life(forks, folder, "--workers", "2")
    life.wait(lambda names: newest(names) >= 2)
    for process in (life.group, *children(life.group)):
        os.kill(process, signal.SIGTERM)
    status, said = life.close()
    assert status == 143
    assert "Stopped by SIGTERM at step" in said
    Life(forks, folder).close()
    assert_same(folder, undisturbed)


def test_a_second_signal_ends_a_run_at_once(forks, tmp_path):
    life = Life(forks, tmp_path / "run")
    life.wait(lambda names: newest(names) >= 2)
    os.killpg(life.group, signal.SIGINT)
    status, said = life.end(signal.SIGTERM)
    assert status == 130
    assert "Traceback" not in said


def test_a_worker_that_dies_is_a_sentence_and_the_run_goes_on(forks, undisturbed, tmp_path):
    folder = tmp_path / "run"
    life = Life(forks, folder, "--workers", "2", "--checkpoint-every", "1000")
    while not (folder / "log.jsonl").exists() or not (folder / "log.jsonl").read_text().endswith("\n"):
        time.sleep(0.001)
    os.kill(children(life.group)[0], signal.SIGKILL)
    status, said = life.close()
    assert status == 1
    assert "arzhang: A process that loads data died" in said
    assert "Traceback" not in said
    step = newest(listing(folder))
    assert step >= 3
    assert f"Going on from step {step} of {STEPS}" in Life(forks, folder).close()[1]
    assert_same(folder, undisturbed)


def test_the_workers_of_a_run_that_was_killed_end_with_it(forks, tmp_path):
    life = Life(forks, tmp_path / "run", "--workers", "2")
    life.wait(lambda names: newest(names) >= 2)
    workers = children(life.group)
    assert len(workers) == 2
    os.kill(life.group, signal.SIGKILL)
    life.close()
    deadline = time.monotonic() + 10
    while any(map(running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_itself_can_be_stopped(undisturbed, tmp_path):
    folder = tmp_path / "stopped"
    words = [sys.executable, "-m", "arzhang", "train", "pix2pix-small", *FLAGS, "--out", folder]
    with subprocess.Popen(words, stderr=-1, text=True, env=ALONE, start_new_session=True) as process:
        while newest(listing(folder)) < 2:
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert re.search(r"Stopped by SIGTERM at step \d+ of", said)


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimiser.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(forks, undisturbed, tmp_path, file):
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    path = folder / f"checkpoints/{STEPS:08d}" / file
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b'"') - 1 if file == "state.json" else len(damaged) // 2] ^= 1  # JSON stays JSON
    path.write_bytes(damaged)
    status, said = Life(forks, folder).close()
    assert status == 0
    assert f"checkpoints/{STEPS:08d} is damaged: {file} is not what was written. Going back" in said
    assert f"Going on from step {STEPS - 2} of {STEPS}" in said
    assert_same(folder, undisturbed)


def test_a_run_with_no_whole_checkpoint_stops_and_keeps_what_there_is(forks, undisturbed, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    for path in folder.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, said = Life(forks, folder).close()
    assert status == 1
    assert "None is whole: put one back from a copy, or remove" in said
    assert before == {path: path.read_bytes() for path in before}

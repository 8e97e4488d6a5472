"""Shapes and types are enforced at every call while the tests run, and one thread keeps small networks fast."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("arzhang", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")  # int for float
torch.set_num_threads(1)
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)  # speed is no test, chance no verdict
hypothesis.settings.load_profile("house")


FORKING = """
import json, os, signal, sys
import matplotlib.figure, torch._dynamo  # which every run would import anew
from arzhang.cli import main
torch.set_num_threads(1)
for line in sys.stdin:
    arguments, said, environments, read, written = json.loads(line)
    children = []
    for environment in environments:
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.alarm(120)  # what hangs fails its test
            if read:
                os.dup2(os.open(read, os.O_RDONLY), 0)
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(os.open(written, os.O_WRONLY | os.O_CREAT) if written else 2, 1)
            os.environ.update(environment)
            sys.exit(main(arguments))
        children.append(child)
    print(json.dumps(children), flush=True)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
"""


class Forks:
    """The command in forks of one process that has imported everything, which is all of it but seconds of imports."""

    def __init__(self, process):
        self.process = process

    def start(self, arguments, said, *, environments=({},), read=None, written=None):
        """Start one for each environment and return their numbers; what they say is added to a file."""
        paths = (str(path) if path else None for path in (read, written))
        request = [str(each) for each in arguments], str(said), list(environments), *paths
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Wait for the end of those that were started last, and return their statuses."""
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="session")
def forks():
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", FORKING], stdin=-1, stdout=-1, text=True, env=alone) as process:
        yield Forks(process)
        process.kill()  # a process that another test has left behind may hold the pipe open, so that it never ends


@pytest.fixture(scope="session")
def tiny():
    """Flags of `arzhang train demo` that make a run of seconds, with dropout and a moving average."""
    values = {
        "model.generator.depth": 5,
        "model.generator.width": 4,
        "model.discriminator.layers": 1,
        "model.discriminator.width": 4,
        "data.size": 32,
        "steps": 2,
        "judge-every": 2,
        "ema": 0.5,
        "device": "cpu",
    }
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]


@pytest.fixture(scope="session")
def tiny_run(tiny, tmp_path_factory) -> Path:
    """The folder of such a run; copy it before you change it."""
    from arzhang.cli import main

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "demo", *tiny, "--data.count", "8", "--data.held-out", "2", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def largest_file():
    """Let no file grow beyond so many bytes, as on a disk that is full: ``with largest_file(100): ...``."""

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def arzhang(capsys):
    """Run a command in this process; give back its status and what it said."""
    from arzhang.cli import main

    def call(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # how tyro ends
            status = exit_.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return SimpleNamespace(status=status, out=said.out, err=said.err)

    return call

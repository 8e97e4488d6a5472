"""Words in, a status and clean streams out; what is misspelt is named, and nothing ends in a traceback."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from arzhang import config, images, plugins
from arzhang.cli import COMMANDS, main

COMMAND = [sys.executable, "-m", "arzhang"]
SCRIPT = Path(sysconfig.get_path("scripts"), "arzhang")


@pytest.fixture
def pictures(tmp_path):
    """A folder of four plain pictures."""
    for index in range(4):
        save(tmp_path / f"pictures/{index}.png", index)
    return tmp_path / "pictures"


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)).save(path)
    return path


def configuration(folder):
    return config.read(folder)


# What there is


def test_no_command_is_misuse_and_shows_them_all(arzhang):
    said = arzhang()
    assert (said.status, said.out) == (2, "")
    assert all(f"  {name} " in said.err for name in COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command_with_an_example(arzhang, flag):
    said = arzhang(flag)
    assert (said.status, said.err) == (0, "")
    assert all(re.search(rf"^  {name} .*  arzhang {name}", said.out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(arzhang, command):
    said = arzhang(command, "--help")
    assert (said.status, said.err) == (0, "")
    assert f"Example: arzhang {command}" in said.out
    assert "{None}" not in said.out


def test_help_after_a_recipe_is_about_that_recipe(arzhang):
    said = arzhang("train", "pix2pix-small", "--help")
    assert "RECIPE" in said.out.splitlines()[0]
    assert "(default: 20000)" in said.out


def test_the_version_is_said(arzhang):
    said = arzhang("--version")
    assert (said.status, said.out, said.err) == (0, f"{version('arzhang')}\n", "")


def test_an_unknown_command_is_named_with_the_nearest(arzhang):
    said = arzhang("trian")
    assert (said.status, said.out) == (2, "")
    assert said.err == "arzhang: There is no command 'trian'; did you mean train?\n"


def test_list_names_what_there_is(arzhang):
    said = arzhang("list")
    assert (said.status, said.err) == (0, "")
    assert all(name in said.out for name in ("pix2pix-small", "derived", "unet", "patchgan", "lsgan"))


def test_list_is_json_when_asked(arzhang):
    said = arzhang("list", "--json")
    rooms = json.loads(said.out)
    assert (said.status, said.err) == (0, "")
    assert all(line for room in rooms.values() for line in room.values())


def test_inspect_shows_layers_sizes_and_memory(arzhang):
    said = arzhang("inspect", "pix2pix-small")
    assert (said.status, said.err) == (0, "")
    assert all(word in said.out for word in ("generator", "down.0", "70 x 70", "GB"))


def test_inspect_is_json_when_asked_and_takes_the_flags_of_train(arzhang):
    said = arzhang("inspect", "demo", "--json", "--data.size", 256, "--model.discriminator", "pixelgan")
    assert (said.status, said.err) == (0, "")
    made = json.loads(said.out)
    sees = {network["name"]: network["receptive_field"] for network in made["networks"]}
    assert (made["batch"]["source"], sees["discriminator"]) == ([1, 3, 256, 256], 1)


@pytest.mark.parametrize("recipe", plugins.names("recipes"))
def test_every_recipe_can_be_inspected(arzhang, recipe):
    said = arzhang("inspect", recipe, "--json")
    assert (said.status, said.err) == (0, "")
    assert all(network["parameters"] for network in json.loads(said.out)["networks"])


# Check


def test_check_of_a_sound_folder_is_status_0(arzhang, pictures):
    said = arzhang("check", pictures)
    assert (said.status, said.err) == (0, "")
    assert "all 4" in said.out


def test_check_of_a_damaged_folder_is_status_1_and_clean_json(arzhang, pictures):
    (pictures / "9.png").write_bytes(b"no picture")
    said = arzhang("check", pictures, "--json")
    assert (said.status, said.err) == (1, "")
    assert [finding["files"] for finding in json.loads(said.out)["problems"]] == [["9.png"]]


# Flags and files


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["train", "demo", "--model.l3", "5"], "--model.l1"),
        (["train", "demo", "--modle.generator.depth", "5"], "--model.generator.depth"),
        (["translate", "run", "a.png", "--overwrit"], "--overwrite"),
        (["check", "folder", "--jsn"], "--json"),
    ],
)
def test_an_unknown_flag_is_named_with_the_nearest(arzhang, arguments, nearest):
    said = arzhang(*arguments)
    assert (said.status, said.out) == (2, "")
    assert arguments[-1] in said.err or arguments[-2] in said.err
    assert nearest in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train"], "Name a recipe first, as in `arzhang train pix2pix-small`; there are "),
        (["train", "pixpix"], "There is no 'pixpix' in recipes; did you mean pix2pix?"),
        (["train", "demo", "--model.generator", "patchgan"], "patchgan cannot stand where a "),
        (["train", "demo", "--model.generator", "unett"], "There is no 'unett' in networks; did you mean unet?"),
        (["train", "demo", "--data", "pared"], "There is no 'pared' in data; did you mean paired?"),
        (["train", "demo", "--config"], "--config needs a value"),
        (["train", "demo", "--data"], "--data needs a value"),
        (["train", "demo", "--plugin", "no_such_module"], "The plug-in 'no_such_module' cannot be imported"),
        (["train", "demo", "--device", "abacus"], "The device 'abacus' cannot be used here"),
        (["train", "demo", "--device", "meta"], "The device 'meta' cannot be used here"),
        (["translate", "runs/x", "-", "--out", "a.png"], "A - stands alone, without --out"),
        (["translate", "runs/x", "-", "a.png"], "A - stands alone, without --out"),
        (["train", "demo", "--steps", "0"], "steps is 0; it should be at least 1."),
        (["translate", "runs/x", "-", "--compile"], "To compile takes longer than to translate one picture"),
        (["translate", "run", "a.png", "--out", "a", "--compile"], "To compile takes longer than to translate one"),
        (["translate", "run"], "Say what to translate: `arzhang translate run label.png --out made/`."),
    ],
)
def test_misuse_is_one_sentence(arzhang, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    said = arzhang(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"arzhang: {sentence}")
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_of_plain_pictures_is_derived_and_of_pairs_paired(arzhang, tiny, pictures, tmp_path):
    for index in range(3):
        for side in "AB":
            save(tmp_path / f"pairs/{side}/{index}.png", index)
    for root, kind in ((pictures, "data.derived"), (tmp_path / "pairs", "data.paired")):
        out = tmp_path / kind
        said = arzhang("train", "demo", *tiny, "--data.root", root, "--out", out)
        assert (said.status, said.out) == (0, f"{out / 'report.html'}\n")
        assert configuration(out)["data"] | {"kind": kind, "root": str(root), "size": 32} == configuration(out)["data"]


def test_a_dataset_is_taken_by_name_with_its_flags(arzhang, tiny, pictures, tmp_path):
    flags = ["--data", "derived", "--data.root", pictures, "--data.source", "grey"]
    assert arzhang("train", "demo", *tiny, *flags, "--out", tmp_path / "run").status == 0
    data = configuration(tmp_path / "run")["data"]
    assert (data["kind"], data["source"]) == ("data.derived", "grey")


@pytest.mark.parametrize("name", ["given.yaml", "given.json"])
def test_a_file_is_laid_over_the_recipe_and_flags_win(arzhang, tiny, tmp_path, name):
    given = {"seed": 7, "batch": 3, "model": {"l1": 50}}
    (tmp_path / name).write_text(json.dumps(given) if name.endswith("json") else yaml.safe_dump(given))
    arguments = ["--config", tmp_path / name, "--batch", 2, "--data.count", 4, "--out", tmp_path / "run"]
    arguments += ["--data.held-out", 1]
    assert arzhang("train", "demo", *tiny, *arguments).status == 0
    made = configuration(tmp_path / "run")
    assert (made["seed"], made["batch"], made["model"]["l1"], made["steps"]) == (7, 2, 50.0, 2)


@pytest.mark.parametrize("name", ["config.json", "."])
def test_an_earlier_run_is_laid_over_the_recipe_and_flags_win(arzhang, tiny_run, tmp_path, name):
    said = arzhang("train", "pix2pix", "--config", tiny_run / name, "--batch", 2, "--out", tmp_path / "run")
    assert said.status == 0
    assert configuration(tmp_path / "run") == configuration(tiny_run) | {"batch": 2}


def test_a_misspelt_key_in_a_file_is_named_with_the_nearest(arzhang, tmp_path):
    (tmp_path / "given.yaml").write_text("model: {generator: {dept: 5}}")
    said = arzhang("train", "demo", "--config", tmp_path / "given.yaml", "--out", tmp_path / "run")
    assert (said.status, said.out) == (2, "")
    assert said.err == "arzhang: There is no key 'model.generator.dept'; did you mean depth?\n"


def test_a_plug_in_beside_the_user_is_found_and_its_run_translates(tiny, tmp_path):
    (tmp_path / "my_unet.py").write_text(
        "from dataclasses import dataclass\n"
        "from arzhang.networks import unet\n"
        "room = 'networks'\n"
        "@dataclass(frozen=True, kw_only=True, slots=True)\n"
        "class Config:\n"
        "    depth: int = 3\n"
        "    width: int = 8\n"
        "    def build(self, *, inputs: int, outputs: int):\n"
        "        return unet.Config(depth=self.depth, width=self.width).build(inputs=inputs, outputs=outputs)\n"
    )
    save(tmp_path / "a.png")
    plugin = ["--plugin", "my_unet"]
    train = ["train", "demo", *tiny, "--model.generator", "my-unet", "--data.count", "2", "--out", "run", *plugin]
    for arguments in (train, ["translate", "run", "a.png", "--out", "made", *plugin]):
        done = subprocess.run([SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert images.size_of(tmp_path / "made/a.png") == (40, 48)


# Translate


def test_translate_says_what_it_did(arzhang, tiny_run, pictures, tmp_path):
    said = arzhang("translate", tiny_run, pictures, "--out", tmp_path / "out")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"4 of 4 translated into {tmp_path / 'out'}.\n"
    again = arzhang("translate", tiny_run, pictures, "--out", tmp_path / "out")
    assert again.out.endswith("; 4 were there already and left as they are (--overwrite replaces them).\n")
    assert arzhang("translate", tiny_run, pictures, "--out", tmp_path / "out", "--overwrite").out == said.out


def test_translate_names_what_failed_and_ends_with_1(arzhang, tiny_run, pictures, tmp_path):
    (pictures / "2.png").write_bytes(b"")
    said = arzhang("translate", tiny_run, pictures, "--out", tmp_path / "out", "--noise", 3, "--checkpoint", "best")
    assert said.status == 1
    assert said.err.startswith(f"arzhang: {pictures / '2.png'} is empty; ")
    assert said.err.count("\n") == 1
    assert said.out == f"3 of 4 translated into {tmp_path / 'out'}; 1 failed.\n"


def test_translate_takes_a_batch_and_a_precision(arzhang, tiny_run, pictures, tmp_path):
    said = arzhang("translate", tiny_run, pictures, "--out", tmp_path / "a", "--batch", 3, "--precision", "bfloat16")
    assert said.out == f"4 of 4 translated into {tmp_path / 'a'}.\n"
    said = arzhang("translate", tiny_run, pictures, "--out", tmp_path / "b", "--batch", 0)
    assert (said.status, said.err) == (2, "arzhang: The batch is 0; it should be at least 1.\n")


def test_translate_passes_a_picture_from_stream_to_stream(forks, tiny_run, tmp_path):
    picture, made, said = save(tmp_path / "a.png"), tmp_path / "made", tmp_path / "said"
    forks.start(["translate", tiny_run, "-"], said, read=picture, written=made)
    assert (forks.end(), said.read_text()) == ([0], "")
    with Image.open(made) as image:
        assert (image.format, image.size) == ("PNG", (48, 40))


def test_what_streams_in_and_is_no_picture_is_a_sentence(forks, tiny_run, tmp_path):
    (tmp_path / "hello").write_bytes(b"hello")
    made, said = tmp_path / "made", tmp_path / "said"
    forks.start(["translate", tiny_run, "-"], said, read=tmp_path / "hello", written=made)
    assert (forks.end(), made.read_bytes()) == ([1], b"")
    assert said.read_text().startswith("arzhang: <stdin> begins with b'hello', which is no picture")


def test_memory_that_runs_out_is_a_sentence(arzhang, tmp_path):
    more_than_can_be_addressed = ["--model.generator.width", 2_000_000]
    said = arzhang("train", "pix2pix", *more_than_can_be_addressed, "--device", "cpu", "--out", tmp_path / "run")
    assert said.status == 1
    assert re.match(r"arzhang: Memory ran out \(can't allocate memory: you tried to allocate \d+ bytes", said.err)
    assert "a smaller --batch" in said.err


def test_translate_without_out_is_a_sentence(arzhang, tiny_run, pictures):
    said = arzhang("translate", tiny_run, pictures)
    assert (said.status, said.out, said.err) == (2, "", "arzhang: Say where the translations go: --out DIR.\n")


def test_a_target_below_a_file_is_a_single_sentence(arzhang, tiny_run, pictures):
    said = arzhang("translate", tiny_run, pictures, "--out", pictures / "0.png/out")
    assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert "cannot be made (Not a directory); give --out another folder." in said.err


# Streams


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--json"]])
def test_a_closed_pipe_is_no_news(capsys, monkeypatch, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(arguments) == 1
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_is_no_news_to_python_as_it_ends():
    process = subprocess.Popen([*COMMAND, "train", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()

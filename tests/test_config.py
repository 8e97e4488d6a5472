"""Configs to and from dictionaries, files and flags, whoever wrote the file."""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, strategies as st

from arzhang import config, plugins
from arzhang.data import derived, facade, paired
from arzhang.models import pix2pix
from arzhang.networks import patchgan, pixelgan, unet
from arzhang.run import Adam, Run, changed, from_recipe
from arzhang.types import MisuseError

RECIPES = pytest.mark.parametrize("recipe", plugins.names("recipes"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    """Every kind of field that a Config may have."""

    integer: int = 0
    real: float = 0.0
    text: str = ""
    flag: bool = False
    path: Path = Path()
    choice: Literal["a", "b"] = "a"
    maybe: int | None = None
    maybe_path: Path | None = None
    either: int | Literal["auto"] = "auto"
    pair: tuple[float, int] = (0.0, 0)
    many: tuple[str, ...] = ()
    part: Adam = field(default_factory=Adam)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1)
EVERYTHING = st.builds(
    Everything,
    integer=st.integers(),
    real=st.floats(allow_nan=False),
    text=st.text(),
    flag=st.booleans(),
    path=NAMES.map(Path),
    choice=st.sampled_from("ab"),
    maybe=st.none() | st.integers(),
    maybe_path=st.none() | NAMES.map(Path),
    either=st.just("auto") | st.integers(),
    pair=st.tuples(st.floats(allow_nan=False), st.integers()),
    many=st.lists(st.text()).map(tuple),
    part=st.builds(Adam, rate=st.floats(0, 1)),
)


@given(EVERYTHING)
def test_any_config_survives_json(tmp_path_factory, everything):
    path = tmp_path_factory.mktemp("config") / "config.json"
    config.save(everything, path)
    assert config.from_dict(Everything, config.read(path)) == everything


@RECIPES
def test_a_recipe_survives_every_way_of_writing_it_down(recipe, tmp_path):
    run = from_recipe(recipe)
    assert config.from_dict(Run, config.to_dict(run)) == run
    config.save(run, tmp_path / "config.json", made_with={"torch": "2"})
    assert config.from_dict(Run, config.read(tmp_path)) == run
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.to_dict(run)))
    assert config.from_dict(Run, config.read(tmp_path / "run.yaml")) == run


@RECIPES
def test_a_recipe_laid_over_another_replaces_all_of_it(recipe):
    for other in plugins.names("recipes"):
        assert config.from_dict(Run, config.to_dict(from_recipe(recipe)), base=from_recipe(other)) == from_recipe(
            recipe
        )


def test_a_file_of_a_few_lines_changes_just_these(tmp_path):
    (tmp_path / "few.yaml").write_text("steps: 7\noptimiser: {rate: 1e-4}\nmodel:\n  generator: {depth: 5}\n")
    run = from_recipe("pix2pix")
    model = replace(run.model, generator=unet.Config(depth=5))
    expected = replace(run, model=model, optimiser=Adam(rate=1e-4), steps=7, epochs=None)
    assert changed(run, config.read(tmp_path / "few.yaml")) == expected


def test_a_file_can_put_another_part_in_place():
    run = changed(
        from_recipe("pix2pix"),
        {"data": {"kind": "data.paired", "root": "x"}, "model": {"discriminator": {"kind": "networks.pixelgan"}}},
    )
    assert run.data == paired.Config(root=Path("x"))
    assert run.model == pix2pix.Config(discriminator=pixelgan.Config())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modle": {}}, "There is no key 'modle'; did you mean model?"),
        ({"model": {"generator": {"dept": 3}}}, "There is no key 'model.generator.dept'; did you mean depth?"),
        ({"optimiser": {"xyz": 1}}, "'optimiser.xyz'; there are rate, betas, schedule, decay_from, weight_decay."),
        ({3: 1}, "There is no key '3'; there are model, data"),
        ({"batch": "four"}, "The key 'batch' holds 'four', where int is expected."),
        ({"batch": 1.5}, "The key 'batch' holds 1.5, where int is expected."),
        ({"batch": True}, "The key 'batch' holds True, where int is expected."),
        ({"batch": None}, "The key 'batch' holds None, where int is expected."),
        ({"steps": "ten"}, "The key 'steps' holds 'ten', where int or nothing is expected."),
        ({"ema": "much"}, "The key 'ema' holds 'much', where float is expected."),
        ({"ema": False}, "The key 'ema' holds False, where float is expected."),
        ({"ema": 10**400}, "where float is expected."),
        ({"device": 0}, "The key 'device' holds 0, where str is expected."),
        ({"model": {"conditional": 1}}, "The key 'model.conditional' holds 1, where bool is expected."),
        ({"model": 3}, "The key 'model' holds 3, where a mapping of keys to values is expected."),
        ({"model": {"generator": "unet"}}, "'model.generator' holds 'unet', where a mapping of keys to values"),
        ({"optimiser": [1]}, "The key 'optimiser' holds [1], where a mapping of keys to values is expected."),
        ({"optimiser": {"betas": [0.5]}}, "'optimiser.betas' holds [0.5], where tuple[float, float] is expected."),
        ({"optimiser": {"betas": [0.5, "x"]}}, "The key 'optimiser.betas' holds 'x', where float is expected."),
        ({"precision": "half"}, "holds 'half', where one of 'float32', 'tf32', 'bfloat16', 'float16' is expected."),
        ({"data": {"kind": "data.paired"}}, "The key 'data.root' is missing, and it has no default."),
        ({"data": {"kind": "data.pared"}}, "There is no 'pared' in data; did you mean paired?"),
        ({"data": {"root": 5}}, "There is no key 'data.root'"),
        ({"data": {"kind": "paired"}}, "The key 'data.root' is missing, and it has no default."),
        (
            {"model": {"generator": {"kind": "networks.patchgan"}}},
            "patchgan cannot stand where a generator is needed; these can: resnet, unet.",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(MisuseError) as error:
        changed(from_recipe("pix2pix"), changes)
    assert sentence in str(error.value)


def test_a_part_that_nothing_stands_for_must_say_its_kind():
    with pytest.raises(MisuseError, match="'model' does not say its kind"):
        config.from_dict(Run, {"model": {}})
    with pytest.raises(MisuseError, match="'model' is missing"):
        config.from_dict(Run, {})


# What strangers send


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "../x.y",
        "cli.main",
        "report.write",
        "losses.hinge",
        "recipes.demo",
        "networks._layers",
        "models.",
        3,
    ],
)
@pytest.mark.parametrize("path", ["model", "data", "model.generator"])
def test_a_hostile_kind_names_nothing(kind, path):
    changes = {"kind": kind}
    for key in reversed(path.split(".")):
        changes = {key: changes}
    before = set(sys.modules)
    with pytest.raises(MisuseError):
        changed(from_recipe("pix2pix"), changes)
    assert set(sys.modules) == before


def aliases(depth):
    """A file of a few lines that is a list of 10 ** depth elements."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("config.json", "", "cannot be read"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[1, 2]", "holds [1, 2], where a mapping of keys to values is expected"),
        ("config.json", "[" * 100_000, "cannot be read"),
        ("config.json", '{"seed": ' + "9" * 10_000 + "}", "cannot be read"),
        ("config.json", '{"version": 2}', "is of configuration version 2; this Arzhang reads version 1"),
        ("config.json", '{"version": "1"}', "is of configuration version '1'"),
        ("run.yaml", "", "holds None"),
        ("run.yaml", "[" * 10_000, "cannot be read"),
        ("run.yaml", "\0", "cannot be read"),
        ("run.yaml", "a: b: c", "cannot be read"),
        ("run.yaml", "seed: 2001-99-99", "cannot be read"),
        ("run.yaml", "seed: !!int x", "cannot be read"),
        ("run.yaml", "seed: !!bool perhaps", "cannot be read"),
        ("run.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("run.yaml", aliases(12) + "\n", "There is no key 'a0'"),
        ("run.yaml", "batch: &a [*a]", "'batch' holds [[[[[[[...]]]]]]]"),
        ("run.yaml", "3: {4: 5}", "There is no key '3'"),
        ("run.yaml", "model: {4: 5}", "There is no key 'model.4'"),
        ("run.yaml", "model: &a {generator: *a}", "no key 'model.generator.generator'"),
    ],
)
def test_a_damaged_or_hostile_file_ends_in_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(MisuseError) as error:
        changed(from_recipe("pix2pix"), config.read(tmp_path / name))
    assert sentence in str(error.value)


def test_a_value_that_unfolds_without_end_is_shown_in_short(tmp_path):
    (tmp_path / "run.yaml").write_text(aliases(12).replace("a11:", "batch:"))
    data = {"batch": config.read(tmp_path / "run.yaml")["batch"]}
    with pytest.raises(MisuseError, match=r"'batch' holds .*, where int is expected"):
        changed(from_recipe("pix2pix"), data)


def test_bytes_that_are_no_text_and_files_that_are_not_there_end_in_a_sentence(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\xfd")
    for path in (tmp_path / "run.yaml", tmp_path / "none.yaml", tmp_path):
        with pytest.raises(MisuseError, match="cannot be read"):
            config.read(path)


# Parts by name


def test_another_part_keeps_the_values_that_both_have():
    small = from_recipe("pix2pix_small")
    run = config.select(small, "model.discriminator", "pixelgan")
    assert run == replace(small, model=replace(small.model, discriminator=pixelgan.Config(width=32)))
    run = config.select(small, "data", "derived")
    assert (run.data.size, type(run.data)) == (128, derived.Config)


def test_a_part_that_does_not_fit_is_refused_by_name():
    for path, name, fitting in [
        ("model.generator", "patchgan", "resnet, unet"),
        ("model.discriminator", "unet", "imagegan, patchgan, pixelgan"),
    ]:
        with pytest.raises(MisuseError, match=f"{name} cannot stand where .* is needed; these can: {fitting}"):
            config.select(from_recipe("pix2pix"), path, name)


def test_flags_name_parts_and_leave_the_rest():
    run, rest = config.select_named(
        from_recipe("pix2pix"),
        ["pix2pix", "--model.discriminator", "pixelgan", "--data=paired", "--data.root=x", "--model.l1", "5", "--help"],
    )
    assert isinstance(run.model.discriminator, pixelgan.Config)
    assert isinstance(run.data, paired.Config)
    assert rest == ["pix2pix", "--data.root", "x", "--model.l1", "5", "--help"]


def test_a_part_named_by_a_flag_can_be_set_by_the_next_one():
    run, rest = config.select_named(
        from_recipe("pix2pix"), ["--model.generator", "unet", "--model.generator.depth", "3"]
    )
    assert run == from_recipe("pix2pix")
    assert rest == ["--model.generator.depth", "3"]


def test_flat_names_every_value_by_its_dotted_key():
    flat = config.flat(from_recipe("pix2pix"))
    assert flat["model.generator.depth"] == 8
    assert flat["model.discriminator.kind"] == "networks.patchgan"
    assert flat["optimiser.betas"] == [0.5, 0.999]
    assert flat["steps"] is None


def test_a_saved_config_says_its_version_and_is_replaced_at_once(tmp_path):
    path = tmp_path / "config.json"
    config.save(patchgan.Config(), path)
    config.save(patchgan.Config(layers=2), path)
    assert json.loads(path.read_text()) == {"version": 1, "layers": 2, "width": 64, "norm": "batch"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_defaults_of_a_config_need_not_be_written():
    assert config.from_dict(facade.Config, {}) == facade.Config()


def test_keys_may_be_spelt_like_flags():
    assert changed(from_recipe("demo"), {"judge-every": 7, "optimiser": {"decay-from": 0.25}}) == replace(
        from_recipe("demo"), judge_every=7, optimiser=Adam(decay_from=0.25)
    )


def test_another_part_in_a_file_keeps_what_both_have_as_a_flag_does():
    data = {"kind": "paired", "root": "photos"}
    in_file = changed(from_recipe("pix2pix-small"), {"data": data}).data
    by_flag = config.select(from_recipe("pix2pix-small"), "data", "paired").data
    assert in_file.size == by_flag.size == 128


def test_nothing_is_not_carried_to_a_part_that_needs_something(tmp_path):
    run = config.select(from_recipe("vae-mnist"), "data", "images")
    assert run.data.size == 28
    assert not isinstance(run.data.root, Path | None)
    assert changed(run, {"data": {"kind": "data.images", "root": str(tmp_path)}}).data.root == tmp_path

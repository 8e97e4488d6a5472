"""Judging from the outside: folders, archives, statistics, runs and datasets become figures, tables and pages."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import arzhang
from arzhang import images
from arzhang.evaluate import compare, evaluate, evaluate_pairs
from arzhang.features import pixels
from arzhang.metrics import fid, kid, psnr
from arzhang.moments import Moments
from arzhang.types import MisuseError

PIXELS = ["--features", "pixels", "--features.size", "2", "--device", "cpu"]


def draw(folder, count, *, seed=0, brighter=0, size=12):
    """Write smooth noise, whose features have a full covariance."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(seed)
    for index in range(count):
        levels = (dice.integers(40, 160, (2, 2, 3)) + brighter).astype(np.uint8)
        Image.fromarray(levels).resize((size, size), Image.Resampling.BILINEAR).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    draw(root / "real", 60)
    draw(root / "near", 50, seed=1)
    draw(root / "far", 50, seed=2, brighter=60)
    return root


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))


def features(folder):
    """Look at a folder without any of the machinery, in the order of the names."""
    look = pixels.Config(size=2).build()
    seen = [look.prepare(images.to_rgb(images.read(path))) for path in images.find(folder)]
    return look(torch.stack(seen))["features"]


def judged(sets, *names, metrics=("fid", "kid"), **how):
    return evaluate(*(sets / name for name in names), metrics=metrics, features=pixels.Config(size=2), **how)


# Sets


def test_figures_are_those_of_the_functions(sets):
    made = judged(sets, "real", "far")
    real, fake = features(sets / "real"), features(sets / "far")
    values = {each.name: each for each in made.estimates}
    assert values["fd-pixels"].value == pytest.approx(fid(real, fake).value, rel=1e-9)
    for seen, by_name in zip(made.sets, (real, fake), strict=True):
        order = [images.find(sets / "real").index(sets / "real" / name) for name in seen.names]
        assert torch.equal(seen.features, by_name[order])
    assert values["kid-pixels"].value == kid(*(seen.features for seen in made.sets)).value
    low, high = values["fd-pixels"].interval
    assert low < values["fd-pixels"].value < high
    assert (made.provenance["real: pictures"], made.provenance["fake: pictures"]) == ("60", "50")


def test_names_order_batches_and_archives_change_no_figure(sets, tmp_path):
    before = judged(sets, "real", "far", metrics=("fid", "kid", "pr", "dc", "prd"))
    with zipfile.ZipFile(tmp_path / "far.zip", "w") as archive:
        for index, path in enumerate(reversed(images.find(sets / "far"))):
            archive.write(path, f"other/{index:03}.png")
    after = evaluate(
        sets / "real",
        tmp_path / "far.zip",
        metrics=("fid", "kid", "pr", "dc", "prd"),
        features=pixels.Config(size=2),
        batch=7,
    )
    assert [each.value for each in after.estimates] == pytest.approx(
        [each.value for each in before.estimates], rel=1e-6
    )
    assert before.provenance["fake: digest"] == after.provenance["fake: digest"]


def test_a_distance_on_other_features_is_never_called_fid(sets):
    made = judged(sets, "real", "far", metrics=("fid", "fid-infinity"))
    assert [each.name for each in made.estimates] == ["fd-pixels", "fd-infinity-pixels"]


def test_statistics_stand_for_the_pictures(sets, tmp_path, arzhang):
    saved = tmp_path / "real.npz"
    whole = json.loads(
        arzhang(
            *("evaluate", sets / "real", sets / "far", "--metrics", "fid", "--json", "--save-stats", saved), *PIXELS
        ).out
    )
    again = json.loads(arzhang("evaluate", saved, sets / "far", "--metrics", "fid", "--json", *PIXELS).out)
    assert again["estimates"][0]["value"] == pytest.approx(whole["estimates"][0]["value"], rel=1e-9)
    assert "these moments" in again["estimates"][0]["method"]
    refused = arzhang("evaluate", saved, sets / "far", "--metrics", "kid", *PIXELS)
    assert refused.status == 2
    assert "kid needs the pictures, and" in refused.err
    other = arzhang("evaluate", saved, sets / "far", "--metrics", "fid", "--features", "pixels", "--features.size", "3")
    assert other.status == 2
    assert "choose the same for both" in other.err


def test_statistics_of_other_programs_are_read(sets, tmp_path):
    real = features(sets / "real").double().numpy()
    np.savez(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    made = evaluate(tmp_path / "theirs.npz", sets / "far", metrics=["fid"], features=pixels.Config(size=2))
    assert made.estimates[0].value == pytest.approx(fid(torch.tensor(real), features(sets / "far")).value, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics", "fit"], "There is no metric 'fit'; did you mean fid?"),
        (["--metrics", "psnr"], "psnr is of pairs: give --pairs."),
        (["--metrics", "is"], "inception-score needs a classifier, and pixels is none: choose --features."),
        (["--weights", "x"], "features.pixels has no weights: leave --weights out."),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(sets, arzhang, arguments, said):
    answer = arzhang("evaluate", sets / "real", sets / "far", *PIXELS, *arguments)
    assert answer.status == 2
    assert said in answer.err


def test_without_weights_and_network_one_sentence_says_what_to_do(sets, arzhang, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = arzhang("evaluate", sets / "real", sets / "far", "--metrics", "fid", "--device", "cpu")
    assert answer.status == 1
    assert "pt_inception-2015-12-05-6726825d.pth" in answer.err
    assert "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2" in answer.err
    assert "--weights FILE" in answer.err
    assert answer.err.count("\n") == 1


def test_the_page_shows_curves_and_the_nearest_real_pictures(sets, tmp_path, arzhang):
    metrics = ["fid", "kid", "pr", "dc", "prd", "fid-infinity"]
    answer = arzhang(
        "evaluate", sets / "real", sets / "far", *PIXELS, "--out", tmp_path / "page", "--metrics", *metrics
    )
    assert answer.status == 0, answer.err
    assert str(tmp_path / "page/report.html") in answer.out
    assert "95 % interval" in answer.out
    written = json.loads((tmp_path / "page/report.json").read_text())
    assert [curve["title"] for curve in written["curves"]] == [
        "Precision and recall for distributions",
        "The Fréchet distance of subsets",
    ]
    assert [panel["title"] for panel in written["panels"]][:2] == ["Nearest real pictures", "Nearest of all"]
    names = [row["name"] for row in written["panels"][0]["rows"]]
    real, fake = features(sets / "real").double(), features(sets / "far").double()
    nearest = torch.cdist(fake, real).argmin(1)
    for row in written["panels"][0]["rows"]:
        assert row["note"].endswith(f"nearest: {nearest[int(row['name'].removesuffix('.png'))]}.png")
    assert len(set(names)) == 6


# Pairs


def test_pairs_are_judged_by_name(sets, tmp_path):
    made, wanted = draw(tmp_path / "made", 4, seed=5), draw(tmp_path / "wanted", 4, seed=6)
    for path in images.find(wanted):
        images.write(images.read(path), path.with_suffix(".tiff"))
        path.unlink()
    found = evaluate_pairs(made, wanted, metrics=["psnr", "l1"])
    left, right = (
        torch.stack([images.to_tensor(images.read(path), channels=3) for path in images.find(each)])
        for each in (made, wanted)
    )
    assert found.estimates[0].value == pytest.approx(psnr(left, right, span=2.0).value, rel=1e-9)
    assert found.estimates[1].value == pytest.approx((left - right).abs().mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "0.png").unlink(), "0 has no partner"),
        (lambda folder: Image.new("RGB", (5, 5)).save(folder / "0.png"), "5 x 5 and 12 x 12 pixels"),
        (lambda folder: Image.new("RGB", (12, 12)).save(folder / "0.jpg"), "have one name, and pairs go by names"),
    ],
)
def test_a_pair_that_is_none_is_named(tmp_path, change, said):
    made, wanted = draw(tmp_path / "made", 3), draw(tmp_path / "wanted", 3)
    change(made)
    with pytest.raises(MisuseError, match=said):
        evaluate_pairs(made, wanted)


# Runs and datasets


def test_a_run_is_judged_by_what_it_held_out(tiny_run, arzhang):
    answer = arzhang("evaluate", tiny_run, "--metrics", "l1", "fid", "--json", *PIXELS)
    assert answer.status == 0, answer.err
    l1, fd = json.loads(answer.out)["estimates"]
    judged = json.loads((tiny_run / "report.json").read_text())["figures"][0]
    assert l1["value"] == pytest.approx(judged["value"], abs=1e-6)
    assert l1["n"] == {"pairs": 2}
    assert (fd["name"], fd["n"]) == ("fd-pixels", {"real": 2, "fake": 2})


def test_a_dataset_is_named(arzhang):
    answer = arzhang("evaluate", "data:digits/train", "data:digits", "--metrics", "fid", "--json", *PIXELS)
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["estimates"][0]["n"]["real"] > 1000


# Which is better


def test_a_difference_that_chance_does_not_make_is_told(sets):
    (compared,) = compare(
        sets / "near", sets / "far", reference=sets / "real", metrics=["fid"], features=pixels.Config(size=2)
    )
    real, near, far = (Moments.of(features(sets / name)) for name in ("real", "near", "far"))
    assert compared.difference.value == pytest.approx(fid(real, near).value - fid(real, far).value, rel=1e-6)
    assert compared.difference.interval[1] < 0
    assert compared.chance == 0.01
    assert compared.first_is_better is True


def test_a_difference_that_chance_makes_is_left_open(sets, tmp_path, arzhang):
    draw(tmp_path / "other", 50, seed=5)
    options = ["--metrics", "fid", "--permutations", "39"]
    answer = arzhang("compare", sets / "near", tmp_path / "other", "--reference", sets / "real", *options, *PIXELS)
    assert answer.status == 0, answer.err
    assert " open " in answer.out


# Many processes


def test_two_processes_give_the_same_table_as_one(sets, arzhang):
    arguments = ["evaluate", sets / "real", sets / "far", "--metrics", "fid", "kid", "--json", "--no-cache", *PIXELS]
    one = json.loads(arzhang(*arguments).out)
    many = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "arzhang"]
    said = subprocess.run(
        [*many, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    two = json.loads(said.stdout)
    assert two["provenance"] == one["provenance"]
    for mine, theirs in zip(two["estimates"], one["estimates"], strict=True):
        assert mine["value"] == pytest.approx(theirs["value"], rel=1e-9)
        assert mine["interval"] == pytest.approx(theirs["interval"], rel=1e-6)


def test_the_front_door_judges(sets):
    made = arzhang.evaluate(sets / "real", sets / "near", metrics=["fid"], features=pixels.Config(size=2))
    assert made.estimates[0].name == "fd-pixels"


# What a fresh reader found


def test_candidates_of_unequal_size_are_compared_at_the_smaller(tmp_path):
    draw(tmp_path / "many", 80, seed=1)
    draw(tmp_path / "few", 25, seed=2)
    draw(tmp_path / "real", 60, seed=3)
    options = {"reference": tmp_path / "real", "features": pixels.Config(size=2), "permutations": 39}
    for metric in ("fid", "kid"):
        (found,) = compare(tmp_path / "many", tmp_path / "few", metrics=[metric], **options)
        assert found.difference.n == {"first": 25, "second": 25, "reference": 60}
        low, high = found.difference.interval
        assert low < 0 < high
        assert found.first_is_better is None
        assert found.provenance["first: pictures"] == "80"


def test_a_metric_that_draws_by_itself_is_not_compared(sets, arzhang):
    start = ["compare", sets / "near", sets / "far", "--reference", sets / "real", *PIXELS]
    for more, said in (
        (["--metrics", "prd"], "prd draws by itself"),
        (["--permutations", "19"], "With 19 permutations no chance below .05 can be told"),
    ):
        answer = arzhang(*start, *more)
        assert answer.status == 2
        assert said in answer.err


def test_a_run_has_a_page_of_its_own(tiny_run, tmp_path, arzhang):
    answer = arzhang("evaluate", tiny_run, "--metrics", "fid", "--out", tmp_path / "page", *PIXELS)
    assert answer.status == 0, answer.err
    assert json.loads((tmp_path / "page/report.json").read_text())["figures"][0]["name"] == "fd-pixels"


def test_statistics_that_were_seen_otherwise_are_refused_and_say_where_they_are_from(sets, tmp_path, arzhang):
    saved = tmp_path / "st.npz"
    Moments.of(features(sets / "real")).save(saved, {"extractor": "lenet", "precision": "float32", "source": "x"})
    refused = arzhang("evaluate", saved, sets / "far", "--metrics", "fid", *PIXELS)
    assert refused.status == 2
    assert "have the extractor lenet, and the pictures here are looked at with pixels" in refused.err
    Moments.of(features(sets / "real")).save(saved, {"extractor": "pixels", "precision": "float32", "source": "x"})
    told = json.loads(arzhang("evaluate", saved, sets / "far", "--metrics", "fid", "--json", *PIXELS).out)["provenance"]
    assert (told["real: source"], told["real: made from"]) == (str(saved), "x")


def test_an_infinite_figure_is_json_all_the_same(sets, arzhang):
    answer = arzhang("evaluate", "--pairs", sets / "near", sets / "near", "--metrics", "psnr", "--json")
    told = json.loads(answer.out, parse_constant=pytest.fail)["estimates"][0]
    assert told["value"] is None
    assert "identical" in told["remarks"][0]


@pytest.mark.filterwarnings("default:Skipped")
def test_a_bad_pair_is_skipped_only_if_asked(sets, tmp_path, arzhang):
    made = draw(tmp_path / "made", 3)
    (made / "1.png").write_bytes(b"no picture")
    pair = ["evaluate", "--pairs", made, draw(tmp_path / "wanted", 3), "--metrics", "l1", "--json"]
    assert arzhang(*pair).status == 1
    told = json.loads(arzhang(*pair, "--skip-bad").out)["provenance"]
    assert (told["pairs"], told["skipped"]) == ("2", "1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--save-stats", "x.stats"], "writes an .npz"),
        (["--precision", "tf32"], "tf32 is of NVIDIA GPUs"),
        (["--metrics", "ppl"], "call arzhang.metrics.ppl in Python"),
    ],
)
def test_what_has_no_effect_is_refused_before_the_work(sets, arzhang, arguments, said):
    answer = arzhang("evaluate", sets / "real", sets / "far", *PIXELS, *arguments)
    assert answer.status == 2
    assert said in answer.err

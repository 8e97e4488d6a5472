"""The laboratory of transposed convolutions: what is drawn is what PyTorch does."""

import json
from itertools import product

import pytest
import torch
from torch.nn import functional

from arzhang.study.transposed import PIXEL, Config, Setting, run

NAMES = ("size", "kernel", "stride", "padding", "output_padding", "dilation")


def settings():
    """All that can be, of many."""
    for values in product((4,), (1, 3, 4), (1, 2, 3), (0, 1, 2), (0, 1), (1, 2)):
        given = dict(zip(NAMES, values, strict=True))
        fits = given["padding"] <= given["dilation"] * (given["kernel"] - 1)
        if fits and given["output_padding"] < max(given["stride"], given["dilation"]):
            setting = Setting(**given)
            if setting.rule > 0:
                yield setting


def test_the_rule_is_the_size_that_torch_makes():
    found = list(settings())
    assert len(found) > 60
    for setting in found:
        assert setting.seen().shape == (setting.rule, setting.rule), str(setting)


def test_a_plain_convolution_of_the_spread_grid_is_the_transposed_one():
    generator = torch.Generator().manual_seed(0)
    for setting in settings():
        image = torch.randn(1, 1, setting.size, setting.size, generator=generator)
        weight = torch.randn(1, 1, setting.kernel, setting.kernel, generator=generator)
        cells = setting.spread()
        grid = torch.zeros(1, 1, *cells.shape)
        grid[0, 0, cells == PIXEL] = image.flatten()
        found = functional.conv2d(grid, weight.flip(2, 3), dilation=setting.dilation)
        options = {name: getattr(setting, name) for name in ("stride", "padding", "output_padding", "dilation")}
        torch.testing.assert_close(found, functional.conv_transpose2d(image, weight, **options), msg=str(setting))


def test_what_is_drawn_has_the_sizes_that_torch_makes():
    asked = Config(size=(2, 3), kernel=(3, 4), stride=(2, 3), padding=(1,), output_padding=(1, 2), dilation=(2, 1))
    result = run(asked)
    (figure,) = result.figures().values()
    drawn = [ax for ax in figure.axes if ax.get_title()]
    assert len(drawn) == 2
    for ax, setting in zip(drawn, asked.settings(), strict=True):
        grids = {mesh.get_gid(): mesh.get_array() for mesh in ax.collections}
        size, options = setting.size, {"stride": setting.stride, "padding": 1, "dilation": setting.dilation}
        layer = torch.nn.ConvTranspose2d(
            1, 1, setting.kernel, output_padding=setting.output_padding, bias=False, **options
        )
        out = layer(torch.zeros(1, 1, size, size)).shape[-1]
        assert grids["output"].shape == (out, out)
        assert (grids["spread"] == PIXEL).sum() == size**2
        assert len(grids["spread"]) - setting.dilation * (setting.kernel - 1) == out
        written = [text.get_text() for text in ax.texts]
        assert written[-1].endswith(f"= {out}")
        assert [int(text) for text in written[: out**2]] == setting.seen().flatten().tolist()
        assert len(ax.patches) == setting.kernel**2 + 1


def test_a_kernel_that_the_stride_divides_leaves_no_checkerboard():
    asked = Config(size=(4,), kernel=(3, 4), stride=(2,), padding=(1,), output_padding=(0,), dilation=(1,))
    odd, even = (setting.seen()[1:-1, 1:-1] for setting in asked.settings())
    assert odd.unique().tolist() == [1, 2, 4]
    assert even.unique().tolist() == [4]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--kernel", "0"], "give size, kernel, stride and dilation at least 1"),
        (["--kernel", "3", "4"], "There are 6 values of one flag, and 2 of kernel: give 1 or 6 of each."),
        (["--padding", "3", "--dilation", "1"], "takes away more than the border of dilation x (kernel - 1) = 2 zeros"),
        (
            ["--output-padding", "2"],
            "The output padding is 2, and should be less than the stride, 1, or the dilation, 1",
        ),
        (["--size", "1000000000"], "makes a grid of 1000000004 cells a side; give one of 64 at most"),
        (["--size", "1", "--padding", "2"], "Nothing comes out of a side of 1 pixels with kernel 3"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(arzhang, flags, said):
    answer = arzhang("study", "transposed", *flags)
    assert answer.status == 2
    assert said in " ".join(answer.err.split())


def test_the_command_tells_both_sizes(arzhang, tmp_path):
    said = arzhang("study", "transposed", "--json", "--out", tmp_path)
    rows = json.loads(said.out)
    assert [row["by_rule"] for row in rows] == [row["by_torch"] for row in rows] == [5, 7, 5, 6, 6, 5]
    assert (tmp_path / "transposed.png").exists()

"""How long a side is after a convolution, and after a transposed one, which undoes it."""

from arzhang.types import MisuseError


def convolved(size: int, *, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return the pixels of a side after a convolution: floor((n + 2 p - d (k - 1) - 1) / s) + 1.

    Example:
        >>> convolved(28, kernel=4, stride=2, padding=1)
        14
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def transposed(size: int, *, kernel: int, stride: int, padding: int, output_padding: int = 0, dilation: int = 1) -> int:
    """Return the pixels of a side after a transposed convolution: (n - 1) s - 2 p + d (k - 1) + p' + 1.

    Example:
        >>> transposed(14, kernel=4, stride=2, padding=1)
        28
    """
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1


def descent(size: int, *, depth: int, kernel: int, stride: int, padding: int) -> list[int]:
    """Return the pixels of a side before and after each of so many convolutions.

    A transposed convolution of the same kernel goes back up these steps: what its rule leaves short of a step, the
    rest of the division, is its output padding, from 0 to s - 1.

    Raises:
        MisuseError: A layer cannot be, or nothing is left of the picture.

    Example:
        >>> descent(28, depth=3, kernel=4, stride=2, padding=1)
        [28, 14, 7, 3]
    """
    if depth < 1 or kernel < 1 or stride < 1 or not 0 <= padding < kernel:
        raise MisuseError(
            f"The convolutions have a depth of {depth}, a kernel of {kernel}, a stride of {stride} and a padding of "
            f"{padding}; give depth, kernel and stride at least 1, and a padding below the kernel."
        )
    sizes = [size]
    for layer in range(depth):
        sizes.append(convolved(sizes[-1], kernel=kernel, stride=stride, padding=padding))
        if sizes[-1] < 1:
            raise MisuseError(
                f"The convolutions have at least one layer too many: nothing is left of a side of {size} pixels after "
                f"{layer + 1} of {depth} (kernel {kernel}, stride {stride}, padding {padding}); give a smaller depth."
            )
    return sizes


def halved(size: int, *, depth: int) -> int:
    """Return the pixels of a side that was halved so many times, with nothing left over.

    Raises:
        MisuseError: There is no layer, or something is left over.

    Example:
        >>> halved(28, depth=2)
        7
    """
    if depth < 1:
        raise MisuseError(f"The network has a depth of {depth}; give at least 1.")
    if size < 1 or size % 2**depth:
        raise MisuseError(
            f"Sides of {size} pixels cannot be halved {depth} times: give --data.size and --model.size a multiple of "
            f"{2**depth}, or the networks another depth."
        )
    side: int = size // 2**depth
    return side

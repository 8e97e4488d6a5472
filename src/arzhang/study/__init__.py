"""Laboratories: what the methods do, measured beside what they should do, one a file.

A laboratory has a ``Config``, whose fields are its flags, and ``run(config, *, track=iter)``, which returns a result
with ``rows()``, plain dictionaries for the table and JSON (those of the same keys make a table, titled by ``table``
where they have it), ``figures()``, matplotlib figures by name, drawn when they are asked for, and a ``caption``. A
laboratory that keeps something takes a ``folder`` as well, the one of its figures.
"""

from arzhang.study import (
    discrete as discrete,
    divergences as divergences,
    estimators as estimators,
    lambda_ as lambda_,
    pix2pix as pix2pix,
    transposed as transposed,
)

__all__ = ["discrete", "divergences", "estimators", "lambda_", "pix2pix", "transposed"]

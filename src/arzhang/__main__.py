"""``python -m arzhang``, as ``torchrun -m`` needs it."""

import sys

from arzhang.cli import main

sys.exit(main())

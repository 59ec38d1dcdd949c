"""`python -m lab` is the command `lab`."""

import sys

from .cli import main

sys.exit(main())

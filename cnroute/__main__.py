"""`python -m cnroute`: the command line."""

from __future__ import annotations

import sys

from cnroute.cli import main

sys.exit(main())

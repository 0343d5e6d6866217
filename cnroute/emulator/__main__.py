"""``python -m cnroute.emulator --port 0``."""

from __future__ import annotations

import sys

from cnroute.emulator.server import main

sys.exit(main())

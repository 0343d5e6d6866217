"""The command line.

Rules of this folder (ecosystem, section 10)
- stdout holds the answer or the asked-for data only; progress, warnings and errors go to stderr.
- Exit codes: 0 done, 1 the call failed, 2 wrong usage, 3 configuration, 4 no key or key refused, 5 rate, quota or
  budget, 6 timed out, 130 Ctrl-C. A closed pipe ends quietly.
- No command imports the router, urllib3 or structlog before it needs them; `cnroute --help` needs none.
- Secrets are neither arguments nor output; where a key comes from may be said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `argv` is `sys.argv[1:]` unless given."""
    try:
        import click  # noqa: F401 (is the extra there?)
        import rich  # noqa: F401
    except ModuleNotFoundError as missing:
        print(
            f"cnroute: the command line needs {missing.name}; install the extra with: pip install 'cnroute[cli]'",
            file=sys.stderr,
        )
        return 2
    try:
        from cnroute.cli.app import run

        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130

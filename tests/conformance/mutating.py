"""Plants bugs: a provider's package is copied under another name, patched, and put to the kit.

`python -m tests.conformance.mutating [NAME ...]` runs the full list (or those whose name holds a NAME) and prints which
check caught what, and `caught N / planted N`.
"""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs

import cnroute.providers
from cnroute.testing.contract import CHECKS, ProviderContract
from cnroute.testing.contract.report import FAILED
from cnroute.testing.contract.running import run
from tests.conformance import test_built_ins
from tests.conformance.mutants import MUTANTS, Mutant

PROVIDERS = Path(cnroute.providers.__file__).parent
_HOMES = {"dashscope": "dashscope", "minimax-v2": "minimax.v2", "minimax-pro": "minimax.pro", "minimax-legacy": "minimax.legacy"}
_CONTRACTS: dict[str, type[ProviderContract]] = {
    contract.provider: contract for contract in vars(test_built_ins).values()
    if isinstance(contract, type) and issubclass(contract, ProviderContract) and contract.provider
}  # fmt: skip
_NUMBERS = itertools.count()


@attrs.frozen
class Caught:
    """What became of one mutant: the checks that failed, each with its message."""

    mutant: Mutant
    failed: dict[str, str]

    @property
    def problem(self) -> str | None:
        """What is not as it should be: not caught by its check, or an unrelated check failed."""
        expected = self.mutant.caught_by
        if expected[0] not in self.failed:
            return f"{self.mutant.name}: {expected[0]} did not catch it"
        others = [name for name in self.failed if name not in expected]
        return f"{self.mutant.name}: unrelated checks failed: {', '.join(others)}" if others else None


@contextmanager
def planted(provider: str, patch: Callable[[Path], None], **fields: Any) -> Iterator[type[ProviderContract]]:
    """The contract of a provider over a copy of its package to which `patch` was applied; `fields` are the class's."""
    name = f"planted_{next(_NUMBERS)}"
    with TemporaryDirectory() as folder:
        family = _HOMES[provider].partition(".")[0]
        target = Path(folder) / name
        shutil.copytree(PROVIDERS / family, target / family, ignore=shutil.ignore_patterns("__pycache__"))
        (target / "__init__.py").touch()
        patch(target)
        for file in target.rglob("*.py"):
            file.write_text(file.read_text("utf-8").replace(f"cnroute.providers.{family}", f"{name}.{family}"), "utf-8")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(f"{name}.{_HOMES[provider]}")
            yield type("Planted", (_CONTRACTS[provider],), {**fields, "plugin": module, "__module__": __name__})
        finally:
            sys.path.remove(folder)
            for each in [each for each in sys.modules if each.partition(".")[0] == name]:
                del sys.modules[each]


def some_samples(provider: str) -> list[Any]:
    """The samples of a provider's own folder, one error inside a stream, and a few errors."""
    every: list[Any] = list(_CONTRACTS[provider].samples)
    errors = [each for each in every if "failure" in each["expect"]]
    broken = [each for each in errors if each.get("stream")][:2] if not provider.endswith(("pro", "legacy")) else []
    refused = [each for each in errors if not each.get("stream")]
    some = [each for each in refused if each in refused[:3] + refused[-3:]]
    return [each for each in every if each.get("answer")] + broken + some


def fits(mutant: Mutant) -> bool:
    """Whether the patch can still be applied: its old text stands in the provider once."""
    return (PROVIDERS / mutant.file).read_text("utf-8").count(mutant.old) == 1


def apply(mutant: Mutant, target: Path) -> None:
    """Patch the copy. A patch that no longer fits is an error, and so is one of more than five lines."""
    file = target / mutant.file
    source = file.read_text("utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has the old text {source.count(mutant.old)} times"
    changed = max(len(mutant.new.splitlines()), len(mutant.old.splitlines()))
    assert changed <= 5, f"{mutant.name}: {changed} lines"
    file.write_text(source.replace(mutant.old, mutant.new), "utf-8")


def put_to_the_kit(mutant: Mutant, skip: tuple[str, ...] = (), few: bool = False) -> Caught:
    """Run every check but those of `skip` against a mutant; with `few` over some of the samples."""
    checks = {name: check for name, check in CHECKS.items() if name not in skip}
    fields = {"samples": some_samples(mutant.provider), "effort": 0.05} if few else {"effort": 1}
    with planted(mutant.provider, lambda target: apply(mutant, target), **fields) as contract:
        return Caught(mutant, {result.check: result.text for result in run(contract, checks) if result.outcome == FAILED})


def main(words: list[str]) -> int:
    """Run the mutants whose names hold one of `words`, or all; 1 when one is not caught as it should be."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    problems = []
    for mutant in chosen:
        caught = put_to_the_kit(mutant)
        problems += [caught.problem] if caught.problem else []
        found = ", ".join(caught.failed) or "nothing"
        print(f"{'BAD' if caught.problem else 'ok '} {mutant.provider:<14} {mutant.name}: {found}", flush=True)
        if words:
            print(*caught.failed.values(), sep="\n")
    print(*problems, sep="\n")
    print(f"caught {len(chosen) - len(problems)} / planted {len(chosen)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

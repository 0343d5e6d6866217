"""Who is cheaper, and by how much: small interleaved blocks, CPU time of this process, the median of ratios.

Rules of this file (design page on performance, section 5)
- A, B, A, B ...: whatever else the machine does meets both. Every second block goes backwards.
- The figure is CPU time of the whole process, all threads and the kernel's part of it, never wall time.
- A ratio is taken inside each block; what is reported is their median and their quartiles.
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable, Mapping

import attrs

# Does its work so many times; what it did last is compared before anything is measured.
Work = Callable[[int], object]


@attrs.frozen
class Size:
    """How much is measured. `calls` in a block; scripts take a part or a multiple of it for other work.

    `part` shrinks what is long or many. `fast`: this process measures the extra of that name; in others orjson cannot
    be imported.
    """

    blocks: int = 25
    calls: int = 25
    warm_up: int = 300
    part: float = 1.0
    fast: bool = False

    def some(self, many: int) -> int:
        """So many, or the part of it that is asked for, at least 1."""
        return max(1, round(many * self.part))

    def times(self, factor: float) -> int:
        """A multiple of `calls`, at least 1."""
        return max(1, round(self.calls * factor))


FULL, TINY = Size(), Size(2, 2, 2, 0.004)


@attrs.frozen
class Ratio:
    """The median over all blocks, the quartiles, and the CPU microseconds of both sides (medians, for scale only)."""

    value: float
    low: float
    high: float
    microseconds: float
    base: float

    @classmethod
    def of(cls, mine: list[float], base: list[float]) -> Ratio:
        """From the CPU seconds of each block."""
        ratios = [one / other for one, other in zip(mine, base, strict=True)]
        low, value, high = statistics.quantiles(ratios, n=4)
        return cls(value, low, high, 1e6 * statistics.median(mine), 1e6 * statistics.median(base))


def repeated(work: Callable[[], object]) -> Work:
    """`work()` so many times."""

    def again(times: int) -> None:
        for _ in range(times):
            work()

    return again


def cpu(work: Work, times: int) -> float:
    """CPU seconds of one of `times`."""
    begun = time.process_time()
    work(times)
    return (time.process_time() - begun) / times


def seconds(subjects: Mapping[str, Work], size: Size, times: int, warm_up: int | None = None) -> dict[str, list[float]]:
    """The CPU seconds of each subject in each block, after a warm-up of all."""
    for work in subjects.values():
        work(size.warm_up if warm_up is None else warm_up)
    gc.collect()
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for block in range(size.blocks):
        for name in sorted(subjects, reverse=bool(block % 2)):
            found[name].append(cpu(subjects[name], times))
    return found


def against(base: str, found: Mapping[str, list[float]]) -> dict[str, Ratio]:
    """Every subject against `base`, which is one of them."""
    return {name: Ratio.of(values, found[base]) for name, values in found.items() if name != base}


def compare(subjects: Mapping[str, Work], base: str, size: Size, times: int) -> dict[str, Ratio]:
    """What a call of each subject costs, against `base`."""
    return against(base, seconds(subjects, size, times))


def slopes(
    subjects: Mapping[str, Callable[[int], object]], size: Size, short: int, long: int, times: int = 1
) -> dict[str, list[float]]:
    """The CPU seconds of each further unit in each block: work of `long` less work of `short` units."""
    both = {
        f"{name} {end}": repeated(functools.partial(work, end)) for name, work in subjects.items() for end in (short, long)
    }
    found = seconds(both, size, times, warm_up=min(3, size.warm_up))
    return {name: slope(found[f"{name} {short}"], found[f"{name} {long}"], long - short) for name in subjects}


def slope(less: list[float], more: list[float], units: int) -> list[float]:
    """What each of the further units cost, block by block."""
    return [(high - low) / units for low, high in zip(less, more, strict=True)]

"""Group 9: the proof itself. A missing kind of sample, or a check that was taken out, is no proof."""

from __future__ import annotations

from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import Contract, check, fail, require


class GuardChecks(ContractBase, Contract):
    """The samples and the checks of this contract."""

    __test__ = False

    @check(groups.GUARD)
    def test_there_are_samples_of_every_kind(self) -> None:
        """At least one plain, one streamed (where the provider streams) and one error sample."""
        samples = self.all_samples()
        kinds = {"plain": self.plain_samples(), "error": [each for each in samples if each.refused]}
        if self.supports_stream:
            kinds["streamed"] = [each for each in self.stream_samples() if each.failure is None]
        missing = [name for name, found in kinds.items() if not found]
        require(
            not missing,
            "there are samples of every kind",
            expected="a plain, an error and (where it streams) a streamed sample",
            got=f"no {' and no '.join(missing)} sample",
            change="save a real answer of the vendor as a JSON file in the samples folder",
        )

    @check(groups.GUARD)
    def test_no_check_is_overridden_or_deleted(self) -> None:
        """Every check is the kit's own, unless it is marked xfail with a reason."""
        problems = self.tampering()
        if problems:
            fail(
                "no check is overridden or deleted",
                expected="the kit's own checks",
                got="; ".join(problems),
                change="take it out, or mark it xfail with a reason",
            )

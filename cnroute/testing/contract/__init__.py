"""The conformance kit: a provider proven offline, by its samples and by the promises of the hook contract.

    class TestAcme(ProviderContract):
        provider = "acme"             # entry-point name; or `plugin = module` for one that is not installed
        model = "acme-1"
        samples = "samples"           # folder beside this file, or a list of documents

What is where
- `base`: the attributes, and the provider under test; `subject`: how it is asked, with the flow's own code.
- `crashing`: what a hook raised, for its author.
- `probes`, `conversations`: what requests are tried with; `sent`: how it is found in them.
- `played`: the samples' streams, with what comes of them.
- `samples`: the format of samples; `expecting`: their expectations; `documents`: bodies changed in one place.
- `counting`: counts of tokens that follow from others, and those that are made up.
- `registration`, `request`, `messages`, `answers`, `streams`, `endings`, `errors`, `data`, `process`, `purity`, `fuzz`,
  `guard`: the checks.
- `watching`, `child`: side effects, and another process; `remembering`: what a provider holds.
- `running`: the checks without pytest (`cnroute check-plugin`); `report`: the table and the closing line.
"""

from __future__ import annotations

from cnroute.testing.contract.answers import AnswerChecks
from cnroute.testing.contract.checking import VERSION, Check, ContractBroken, NotApplicable
from cnroute.testing.contract.data import DataChecks
from cnroute.testing.contract.endings import StreamEndChecks
from cnroute.testing.contract.errors import ErrorChecks
from cnroute.testing.contract.fuzz import FuzzChecks
from cnroute.testing.contract.guard import GuardChecks
from cnroute.testing.contract.messages import MessageChecks
from cnroute.testing.contract.process import ProcessChecks
from cnroute.testing.contract.purity import PurityChecks
from cnroute.testing.contract.registration import RegistrationChecks
from cnroute.testing.contract.request import RequestChecks
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.streams import StreamChecks

__all__ = ["CHECKS", "VERSION", "Check", "ContractBroken", "NotApplicable", "ProviderContract", "Sample"]


class ProviderContract(
    RegistrationChecks,
    RequestChecks,
    MessageChecks,
    AnswerChecks,
    StreamChecks,
    StreamEndChecks,
    ErrorChecks,
    DataChecks,
    ProcessChecks,
    PurityChecks,
    FuzzChecks,
    GuardChecks,
    root=True,
):
    """Subclass it in a pytest file; every promise of the hook contract is a test method.

    `provider` is an entry-point name, or `plugin` a module or object that is not installed; `model` the vendor's model;
    `options` those of the deployment; `samples` a folder beside the file, or a list of documents. The flags say what the
    provider does for this model, and are checked against what it does. `effort` multiplies the random cases.
    """


CHECKS = ProviderContract.contract_checks()
"""Every check by its name, in the order of the groups."""

"""What a caller does next: one sentence for each way in which an operation fails, as data."""

from __future__ import annotations

from collections.abc import Mapping

from cnroute.errors import CallError
from cnroute.failures import FailureKind

K = FailureKind

# By the vendor's code where that says more than the kind (error tables of platform.minimaxi.com, 2025-09).
_BY_CODE: Mapping[str, str] = {
    "1004": "give the key and the GroupId of one account: the key does not belong to this group",
    "1008": "top up the account",
    "1039": "wait a minute, then do it again",
    "2013": "see which files and bases there are with list_files() and list(), and correct the argument that the message names",
    "2032": "delete a base that is not needed: an account has 10 of them",
    "2033": "delete documents, or split the file: a base holds 50 million characters, a document 2 million",
    "2034": "another operation on this base still runs: do it again later, or with a longer timeout",
    "2036": "another operation on this base still runs: do it again later, or with a longer timeout",
    "2049": "use a key of the host's region (api.minimaxi.com in China, api.minimax.io elsewhere)",
}
_AGAIN = "do it again; what the vendor has already is in .ids"
_BY_KIND: Mapping[FailureKind, str] = {
    K.AUTH: "give another key; it must belong to the GroupId and to the host's region",
    K.PERMISSION: "have the endpoint opened for the account in the vendor's console",
    K.QUOTA: "free some space or top up the account",
    K.RATE_LIMIT: "wait a minute, then do it again",
    K.OVERLOADED: "do it again later, or with a longer timeout",
    K.REQUEST_TOO_LARGE: "split the file: the vendor takes 512 MB at most",
    K.DNS_ERROR: "check the network and base_url",
    K.CONNECT_ERROR: "check the network and base_url",
    K.TLS_VERIFY: "check the host's certificate, or name its authority with TLS(ca_file=...)",
    K.DEADLINE_EXCEEDED: "do it again with a longer timeout; what the vendor has already is in .ids",
    K.LOCAL_OVERLOAD: "do less at once, or allow more connections in Limits",
    K.CANCELLED: _AGAIN,
    K.CLOSED: "make another client: this one is closed",
    K.BAD_REQUEST: "correct the argument that the message names",
    K.CONTENT_FILTER: "change the text: the vendor's inspection refused it",
    K.REDIRECT: "give the base_url that the vendor's pages name: redirects are never followed",
    K.RESPONSE_TOO_LARGE: "see what answers at base_url, or allow more in Limits",
    K.PLUGIN_ERROR: "mend or block the plugin that the message names",
}


def advice_for(error: CallError, *, sent: bool) -> str:
    """What to do next. `sent`: something had left this computer."""
    by_code = _BY_CODE.get(error.vendor_code or "") if sent else None
    return by_code or _BY_KIND.get(error.kind) or _AGAIN

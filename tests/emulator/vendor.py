"""MiniMax's files and knowledge bases by raw HTTP: urllib3 and the paths of the vendor's pages, no client of ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import urllib3

from cnroute.emulator import Emulator

from . import client

KEY = {"Authorization": "Bearer k"}
FAQ = """退货政策:签收后七天之内可以无理由退货。
发货时间:付款后两天之内发货。
发票:电子发票在订单页下载。
会员:Gold members get free shipping.
"""


@dataclass
class Vendor:
    """One account; every method gives the decoded answer."""

    emulator: Emulator
    group: str = "17"
    key: dict[str, str] = field(default_factory=lambda: dict(KEY))
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))
    operators: Iterator[int] = field(default_factory=lambda: itertools.count(2**53 + 1))

    def url(self, path: str) -> str:
        return f"{self.emulator.base_url('minimax-knowledge')}/{path}?GroupId={self.group}"

    def get(self, path: str, **query: Any) -> Any:
        rest = "".join(f"&{name}={value}" for name, value in query.items())
        return self.http.request("GET", self.url(path) + rest, headers=self.key).json()

    def post(self, path: str, **body: Any) -> Any:
        return self.http.request("POST", self.url(path), json=body, headers=self.key).json()

    def change(self, what: str, **body: Any) -> Any:
        """A change of a base under a fresh operator_id, unless one is given."""
        return self.post(f"embedding/{what}", **{"operator_id": next(self.operators), **body})

    def upload(self, text: str | bytes = FAQ, name: str = "faq.txt", purpose: str = "retrieval") -> Any:
        data = text.encode() if isinstance(text, str) else text
        fields = {"purpose": purpose, "file": (name, data, "application/octet-stream")}
        return self.http.request("POST", self.url("files/upload"), fields=fields, headers=self.key).json()

    def file(self, text: str | bytes = FAQ, name: str = "faq.txt") -> int:
        """The id of a new file."""
        return int(self.upload(text, name)["file"]["file_id"])

    def create(self, name: str = "faq", **body: Any) -> Any:
        return self.change("create_knowledge_base", **{"name": name, "embedding_model": "kbq-001", **body})

    def base(self, text: str | None = FAQ, name: str = "faq", **doc_params: Any) -> int:
        """The id of a new base that is available, with a file of the text."""
        given = {} if text is None else {"file_id": self.file(text), "doc_params": doc_params}
        answer = self.create(name, **given)
        assert code(answer) == 0, answer
        self.emulator.settle()
        return int(answer["knowledge_base_id"])

    def detail(self, base: int) -> Any:
        return self.get("embedding/query_knowledge_base", knowledge_base_id=base)["knowledge_base"]

    def ask(self, provider: str, question: str, base: int, *, stream: bool = False, **settings: Any) -> Any:
        """The answer of a chat call with the base; of a stream its last frame."""
        given = {"knowledge_base_param": {"knowledge_base_id": base, **settings}}
        body = client.body_for(provider, question, stream=stream, **given)
        url = self.url(client.PATHS[provider].removeprefix("/").partition("?")[0])
        answer = self.http.request(
            "POST", url, json=body, headers=self.key
        )
        return client.events(answer.data)[-1] if stream else answer.json()


@contextmanager
def vendor(**options: Any) -> Iterator[Vendor]:
    """An account at an emulator of its own."""
    with Emulator(**options) as emulator:
        account = Vendor(emulator)
        yield account
        account.http.clear()


def code(answer: Any) -> int:
    """The vendor's code of an answer."""
    return int(answer["base_resp"]["status_code"])


def said(answer: Any) -> str:
    """The vendor's message of an answer."""
    return str(answer["base_resp"]["status_msg"])


def pieces(answer: Any) -> list[str]:
    """The texts of the retrieved chunks."""
    return [chunk["content"] for chunk in answer["knowledge_base"]["chunks"]]

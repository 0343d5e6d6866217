"""What both knowledge clients share: construction, the checking of arguments, and the operations as flows."""

from __future__ import annotations

import random as random_module
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import attrs

from cnroute.arguments import checked
from cnroute.binding import Settings
from cnroute.deployments import Deployment
from cnroute.engine import Engine
from cnroute.errors import BadRequestError, ConfigurationError, RouterClosedError, forgetful
from cnroute.knowledge import wire
from cnroute.knowledge.flows import Flows, Page, Progress
from cnroute.knowledge.operation import Flow, Operation, conduct
from cnroute.knowledge.values import Base, Document, File, checked_id
from cnroute.settings import Limits, Retries, Timeouts, nearest

T = TypeVar("T")
MODEL = wire.EMBEDDING_MODEL
_NAME, _PROVIDER, _NO_MODEL = "knowledge", "minimax-pro", "-"
_PROVIDERS = ("minimax-pro", "minimax-legacy")
# No answer of these endpoints is generated token by token, so none takes long to begin; files are larger than chats.
_TIMEOUTS = Timeouts(first_byte=30.0)
_LIMITS = Limits(max_stream_bytes=2**30)
_CHANGES = {"add_document": wire.ADD, "update_document": wire.UPDATE, "delete_document": wire.DELETE_DOCUMENT}


class KnowledgeCore:
    """A knowledge client without its waiting."""

    _asynchronous = False

    @forgetful
    def __init__(
        self,
        api_key: Any = None,
        group_id: Any = None,
        *,
        deployment: Deployment | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        retries: Retries | None = None,
        transport: Any = None,
        plugins: Any = None,
        max_bases: int | None = wire.MAX_BASES,
        clock: Any = time,
        random: Any = None,
    ) -> None:
        """`deployment`, of `minimax-pro` or `minimax-legacy`, stands for key, GroupId, `base_url`, TLS, proxy and headers.

        `max_bases`: how many bases the account may have; None does not ask before one is made. Raises ConfigurationError.
        """
        place = _deployment(deployment, api_key, group_id, base_url)
        settings = Settings(
            timeouts=nearest(Timeouts, timeouts, _TIMEOUTS), limits=nearest(Limits, limits, _LIMITS), retries=retries,
            transport=transport, plugins=plugins, clock=clock, random=random,
        )
        if max_bases is not None and (isinstance(max_bases, bool) or not isinstance(max_bases, int) or max_bases < 0):
            raise ConfigurationError("max_bases must be a whole number, or None", "max_bases")
        self._engine = Engine([place], {}, settings, self._asynchronous)
        self._place = self._engine.binding.places[place.name]
        self._retries = nearest(Retries, retries)
        self._flows = Flows(wire.Wire(self._place.deployment), max_bases)

    @classmethod
    @forgetful
    def from_config(cls, config: Any, deployment: str | None = None, **keywords: Any) -> Self:
        """A client for a deployment of a TOML file or mapping: the one that is named, else the first that has knowledge bases.

        Raises ConfigurationError.
        """
        from cnroute.config import router_arguments

        arguments = router_arguments(config)
        keywords = {name: arguments[name] for name in ("transport",) if name in arguments} | keywords
        return cls(deployment=_chosen(arguments["deployments"], deployment), **keywords)

    @classmethod
    def from_env(cls, **keywords: Any) -> Self:
        """A client for MINIMAX_API_KEY, MINIMAX_GROUP_ID and MINIMAX_API_HOST, or for the file in CNROUTE_CONFIG.

        Raises ConfigurationError when something is missing.
        """
        from cnroute.config import environment_arguments

        arguments = environment_arguments()
        accounts = arguments.get("_accounts", {})
        given = (*arguments["deployments"], *(accounts[name] for name in _PROVIDERS if name in accounts))
        return cls(**{"deployment": _chosen(given, None), "plugins": arguments["plugins"], **keywords})

    @property
    def deployment(self) -> Deployment:
        """The account that is asked, as a deployment."""
        return self._place.deployment

    @property
    def transport(self) -> Any:
        """The transport in use."""
        return self._engine.transport

    # -- operations as flows -----------------------------------------------------------------------------------

    def _begin(self, name: str, timeout: float | None, operator_id: int | None = None) -> Operation:
        if self._engine.closing:
            raise RouterClosedError("the client is closed", billing="none")
        total = checked("timeout", timeout) or self._place.timeouts.plain.total
        now = self._engine.clock.monotonic()
        return Operation(
            name, uuid.UUID(int=random_module.getrandbits(128), version=4).hex, self._place, self._engine.clock,
            self._engine.binding.random, self._engine, self._retries, now + total, now, total, self._engine.clock.time(),
            operator_id=operator_id,
        )

    def _write(self, name: str, timeout: float | None, operator_id: int | None) -> Operation:
        """A write, with the number that makes its repetitions harmless."""
        number = wire.new_operator_id() if operator_id is None else checked_id(operator_id, "operator_id")
        return self._begin(name, timeout, number)

    def _upload(self, file: Any, name: str | None, progress: Progress | None, timeout: float | None) -> Flow[File]:
        if name is not None and not isinstance(name, str):
            raise BadRequestError("name must be text", billing="none")
        operation = self._begin("upload", timeout)
        return conduct(operation, self._flows.upload(operation, file, name, _callable(progress)))

    def _list_files(self, timeout: float | None) -> Flow[tuple[File, ...]]:
        operation = self._begin("list_files", timeout)
        return conduct(operation, self._flows.list_files(operation))

    def _get_file(self, file_id: Any, timeout: float | None) -> Flow[File]:
        operation, number = self._begin("get_file", timeout), checked_id(file_id, "file_id")
        return conduct(operation, self._flows.get_file(operation, number))

    def _download(
        self, file_id: Any, target: Any, overwrite: bool, progress: Progress | None, timeout: float | None
    ) -> Flow[int]:
        if not isinstance(overwrite, bool):
            raise BadRequestError("overwrite must be True or False", billing="none")
        operation, number = self._begin("download", timeout), checked_id(file_id, "file_id")
        return conduct(operation, self._flows.download(operation, number, target, overwrite, _callable(progress)))

    def _delete_file(self, file_id: Any, timeout: float | None) -> Flow[None]:
        operation, number = self._begin("delete_file", timeout), checked_id(file_id, "file_id")
        return conduct(operation, self._flows.delete_file(operation, number))

    def _create(
        self, name: Any, document: dict[str, Any], description: Any, model: Any, callback: Any, operator_id: int | None,
        timeout: float | None,
    ) -> Flow[Base]:
        if not isinstance(description, str | None) or not isinstance(model, str):
            raise BadRequestError("description and embedding_model must be text", billing="none")
        operation = self._write("create", timeout, operator_id)
        return conduct(
            operation,
            self._flows.create(operation, wire.checked_name(name), description, model, document, wire.checked_callback(callback)),
        )

    def _document(
        self, file_id: Any, size: int | None, overlap: int | None, separators: Any, is_regex: bool, *, needed: bool = False,
        cut: bool = True,
    ) -> dict[str, Any]:
        """The fields that describe a document and how it is cut. Raises BadRequestError."""
        params = wire.doc_params(size, overlap, separators, is_regex)
        if file_id is None and not needed:
            return {}
        fields: dict[str, Any] = {"file_id": checked_id(file_id, "file_id")}
        return {**fields, "doc_params": params} if cut else fields

    def _get(self, base_id: Any, timeout: float | None) -> Flow[Base]:
        operation, number = self._begin("get", timeout), checked_id(base_id, "base_id")
        return conduct(operation, self._flows.get(operation, number))

    def _pages(self, page_size: int, timeout: float | None) -> Pages:
        checked("timeout", timeout)
        return Pages(wire.checked_page_size(page_size), lambda number, size: self._page(number, size, timeout))

    def _page(self, number: int, size: int, timeout: float | None) -> Flow[Page]:
        operation = self._begin("list", timeout)
        return conduct(operation, self._flows.page(operation, number, size))

    def _wait(self, base_id: Any, timeout: float | None) -> Flow[Base]:
        operation, number = self._begin("wait", timeout), checked_id(base_id, "base_id")
        return conduct(operation, self._flows.wait(operation, number))

    def _delete(self, base_id: Any, operator_id: int | None, timeout: float | None) -> Flow[None]:
        operation, number = self._write("delete", timeout, operator_id), checked_id(base_id, "base_id")
        return conduct(operation, self._flows.delete(operation, number))

    def _change(
        self, name: str, base_id: Any, document: dict[str, Any], callback: Any, operator_id: int | None, timeout: float | None
    ) -> Flow[Document]:
        operation, number = self._write(name, timeout, operator_id), checked_id(base_id, "base_id")
        url = wire.checked_callback(callback)
        return conduct(operation, self._flows.change_document(operation, _CHANGES[name], number, document, url))

    def _get_document(self, base_id: Any, file_id: Any, timeout: float | None) -> Flow[Document]:
        operation = self._write("get_document", timeout, None)
        numbers = checked_id(base_id, "base_id"), checked_id(file_id, "file_id")
        return conduct(operation, self._flows.get_document(operation, *numbers))


class Pages:
    """The pages of the list of bases, each asked for when it is needed; a base that moves to another page comes once."""

    def __init__(self, size: int, ask: Callable[[int, int], Flow[Page]]) -> None:
        self._size = size
        self._ask = ask
        self._number = 0
        self._seen: dict[int, Base] = {}
        self._over = False

    def next_operation(self) -> Flow[Page] | None:
        """The operation that gets the next page; None when there is none."""
        return None if self._over else self._ask(self._number, self._size)

    def take(self, page: Page) -> list[Base]:
        """The bases of a page that were not seen before."""
        fresh = [base for base in page.bases if base.id not in self._seen]
        self._seen.update({base.id: base for base in fresh})
        self._number += 1
        self._over = not page.bases or self._all_came(page.total, fresh)
        return fresh

    def _all_came(self, total: int | None, fresh: list[Base]) -> bool:
        """By the count, not by the pages: a vendor may put fewer on a page than it is asked for, or give one for ever."""
        if fresh:
            return total == len(self._seen)
        return total is None or self._number * self._size >= total


def _callable(progress: Any) -> Progress | None:
    if progress is not None and not callable(progress):
        raise BadRequestError("progress must be a function of (sent, size)", billing="none")
    return progress  # type: ignore[no-any-return]


def _deployment(deployment: Deployment | None, api_key: Any, group_id: Any, base_url: str | None) -> Deployment:
    """The deployment that stands for the account. Raises ConfigurationError."""
    if deployment is None:
        if api_key is None:
            raise ConfigurationError("a knowledge client needs a key and a GroupId, or a deployment", "api_key")
        options: Mapping[str, Any] = {} if group_id is None else {"group_id": group_id}
        return Deployment(_NAME, _PROVIDER, _NO_MODEL, api_key=api_key, base_url=base_url, options=options)
    if not isinstance(deployment, Deployment) or deployment.provider not in _PROVIDERS:
        raise ConfigurationError(f"must be a deployment of {' or '.join(_PROVIDERS)}", "deployment")
    if api_key is not None or group_id is not None:
        raise ConfigurationError("give a key and a GroupId, or a deployment, not both", "deployment")
    return deployment if base_url is None else attrs.evolve(deployment, base_url=base_url)


def _chosen(deployments: Any, name: str | None) -> Deployment:
    """The deployment called `name`, else the first whose provider has knowledge bases. Raises ConfigurationError."""
    for each in deployments:
        if each.name == name or (name is None and each.provider in _PROVIDERS):
            return each  # type: ignore[no-any-return]
    wanted = f"there is no deployment {name!r:.60}" if name else "no deployment has knowledge bases"
    raise ConfigurationError(
        f"{wanted}; set MINIMAX_API_KEY and MINIMAX_GROUP_ID, or configure a deployment of {' or '.join(_PROVIDERS)}", "api_key"
    )

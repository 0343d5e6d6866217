"""What the checks of a transport stand on: the class attributes that an author sets, and a wire for each check."""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cnroute.deployments import TLS, Deployment
from cnroute.errors import CallError
from cnroute.plugins import PluginHost
from cnroute.settings import Limits
from cnroute.testing.contract.checking import ContractBroken, NotApplicable, fail
from cnroute.testing.transports import certificates
from cnroute.testing.transports.rawserver import Action, RawServer
from cnroute.testing.transports.wires import Wire

FLAGS: Mapping[str, str] = {
    "deadline_at_every_read": "the deadline ends an answer that arrives byte by byte",
    "cancels_connecting": "a cancel ends a name look-up and a connect",
    "keeps_connections": "a connection serves several exchanges",
    "unpacks_gzip": "gzip and deflate are unpacked",
    "supports_tls": "https works, with the deployment's own authority",
    "supports_proxy": "calls go through the deployment's proxy",
}
"""What a transport may be unable to do, and say so. Each flag is compared with what the transport does."""


@functools.cache
def _installed() -> PluginHost:
    """A host with all installed plugins; filling one takes longer than most checks."""
    return PluginHost()


class TransportBase:
    """The attributes of a transport contract."""

    transport: ClassVar[str | None] = None
    slack: ClassVar[float] = 1.0
    """Seconds by which a busy machine may miss a promised time."""
    deadline_at_every_read: ClassVar[bool] = True
    cancels_connecting: ClassVar[bool] = True
    keeps_connections: ClassVar[bool] = True
    unpacks_gzip: ClassVar[bool] = True
    supports_tls: ClassVar[bool] = True
    supports_proxy: ClassVar[bool] = True

    def make_transport(self) -> Any:
        """A new transport: overridden, or made by the installed plugin that knows the name `transport`."""
        if self.transport is None:
            raise ContractBroken('the contract names no transport; set transport = "NAME" or define make_transport()')
        host = _installed()
        made = host.create("create_transport", self.transport, {})
        if made is None:
            problems = "; ".join(map(str, host.problems)) or "none"
            raise ContractBroken(f"no installed plugin knows the transport {self.transport} (problems: {problems})")
        return made

    @contextlib.contextmanager
    def wire(
        self,
        *scripts: Sequence[Action],
        tls: ssl.SSLContext | None = None,
        places: int = 4,
        limits: Mapping[str, int] | None = None,
        deployment: Mapping[str, Any] | None = None,
    ) -> Iterator[Wire]:
        """A server whose n-th connection follows the n-th script, and a transport bound to it with `places` connections."""
        server = RawServer(*scripts, tls=tls)
        fields: dict[str, Any] = {
            "base_url": f"{'https' if tls else 'http'}://127.0.0.1:{server.port}/v1",
            "limits": Limits(**{"max_connections": places, "max_in_flight": places, **(limits or {})}),
            **(deployment or {}),
        }
        try:
            wire = Wire(server, self.make_transport(), Deployment("kit", "kit", "kit-model", **fields), self.slack)
        except BaseException:
            server.close()
            raise
        try:
            yield wire
        except BaseException as error:
            with contextlib.suppress(Exception):
                wire.abandon()
            _told(error)
            raise
        wire.close()

    def needs(self, flag: str) -> None:
        """The check applies only to transports with this flag."""
        if not getattr(self, flag):
            raise NotApplicable(f"{flag} = False")


def _told(error: BaseException) -> None:
    """What a call that should have succeeded raised, in the kit's own words; nothing for what the kit itself raised."""
    __tracebackhide__ = True
    after = "; ".join(getattr(error, "__notes__", ())) or None
    if isinstance(error, CallError):
        fail(
            "a call that should succeed succeeds",
            expected="an answer, or the next bytes of a stream",
            got=f"{type(error).__name__} ({error.kind}): {error.message}",
            change="return what has arrived: `send` the whole answer, `open` after the head, `read` the bytes that are there",
            sample=after,
        )


@contextlib.contextmanager
def tls_server(leaf: str = certificates.LOOPBACK) -> Iterator[tuple[ssl.SSLContext, TLS]]:
    """What a server with the certificate `leaf` needs, and what a deployment needs to trust its authority."""
    with tempfile.TemporaryDirectory() as folder:
        authority, chain = Path(folder, "authority.pem"), Path(folder, "leaf.pem")
        authority.write_text(certificates.AUTHORITY, "ascii")
        chain.write_text(leaf, "ascii")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        yield context, TLS(ca_file=str(authority))


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """The environment with `values`, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

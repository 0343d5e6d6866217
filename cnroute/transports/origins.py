"""What a deployment says of its connections: origin, proxy, certificates. Nothing here opens anything early."""

from __future__ import annotations

import os
import ssl
import threading
import urllib.request
from urllib.parse import unquote, urlsplit

import attrs
from urllib3.util import create_urllib3_context, make_headers

from cnroute.deployments import TLS, Deployment
from cnroute.errors import ConfigurationError
from cnroute.failures import FailureKind
from cnroute.http import SecretText
from cnroute.transports.steps import WireError

_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Origin:
    """Where a deployment's requests go."""

    text: str
    host: str
    port: int
    tls: bool

    @classmethod
    def of(cls, base_url: str | None) -> Origin:
        """The origin of `base_url`; raises ConfigurationError without one."""
        parts = urlsplit(base_url or "")
        if not parts.hostname or parts.scheme not in _PORTS:
            raise ConfigurationError("the deployment has no base_url that could be called", "base_url")
        text = f"{parts.scheme}://{parts.netloc}"
        return cls(text, parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")

    @property
    def host_field(self) -> str:
        """What stands in the `Host` header: without the port that goes without saying (RFC 9112, 3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode()
        return host if self.port == _PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

    def path_of(self, url: str) -> str:
        """Path and query of `url`, which must lie on this origin."""
        rest = url[len(self.text) :] if url.startswith(self.text) else None
        if rest is None or rest[:1] not in ("/", "?", ""):
            raise WireError(FailureKind.PLUGIN_ERROR, "the request's URL is not on the deployment's origin")
        return rest if rest.startswith("/") else "/" + rest


@attrs.frozen
class Proxy:
    """An HTTP proxy; its user name and password are secret (U27)."""

    host: str
    port: int
    headers: dict[str, str] = attrs.field(repr=False)


def proxy_of(deployment: Deployment, origin: Origin, trust_env: bool) -> Proxy | None:
    """The deployment's proxy, else the environment's if that may be asked (U27). Raises ConfigurationError."""
    url = deployment.proxy
    if url is None and trust_env and not urllib.request.proxy_bypass(origin.host):
        url = urllib.request.getproxies().get("https" if origin.tls else "http")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host or parts.scheme != "http":
        raise ConfigurationError("proxy must be http://host:port, with user:password@ where it asks for them", "proxy")
    return Proxy(host, port, _proxy_headers(parts.username, parts.password))


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    fields = make_headers(proxy_basic_auth=f"{unquote(user)}:{unquote(password or '')}")
    return {"Proxy-Authorization": SecretText(fields["proxy-authorization"])}


def check_files(tls: TLS | None) -> None:
    """Raise ConfigurationError for a certificate that is not there; it is loaded at the first connection only."""
    for name in ("ca_file", "client_cert", "client_key"):
        path = getattr(tls, name, None)
        if path is not None and not os.path.isfile(path):
            raise ConfigurationError(f"{name} is not a file", f"tls.{name}")


class Contexts:
    """TLS contexts, made at the first connection that needs one and shared: the CA bundle costs 65 ms to load."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[TLS | None, ssl.SSLContext] = {}

    def of(self, tls: TLS | None) -> ssl.SSLContext:
        """The context for `tls`."""
        context = self._made.get(tls)
        if context is None:
            with self._lock:
                context = self._made.get(tls) or self._made.setdefault(tls, _context(tls or TLS()))
        return context


def _context(tls: TLS) -> ssl.SSLContext:
    context = create_urllib3_context()
    if tls.ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(tls.ca_file)
    if tls.client_cert is not None:
        context.load_cert_chain(tls.client_cert, tls.client_key)
    return context

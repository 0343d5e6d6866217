"""`cnroute doctor`: what is missing or wrong, without a request to anybody unless asked.

Rules of this file
- Keys are named by where they come from, never by what they are.
- `--online` sends a GET without a key to each base URL: any answer means that the host is there.
"""

from __future__ import annotations

import email.utils
import http.client
import os
import platform
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click

import cnroute
from cnroute.cli.calling import config_option
from cnroute.cli.failing import CALL_FAILED, CONFIGURATION, KEY
from cnroute.cli.output import console, harmless, print_json, with_output_options

# Variables that people set and this library does not read, with the reason.
_OTHERS = {
    "DASHSCOPE_API_BASE": "points at DashScope's OpenAI-compatible path (litellm); cnroute reads DASHSCOPE_HTTP_BASE_URL",
    "MINIMAX_API_BASE": "is litellm's; cnroute reads MINIMAX_API_HOST",
    "YI_API_KEY": "belongs to 01.AI's own API; Yi models on DashScope need DASHSCOPE_API_KEY",
    "HTTPS_PROXY": "is not used; give a deployment proxy = ... if it needs one",
    "https_proxy": "is not used; give a deployment proxy = ... if it needs one",
}
_STYLES = {"ok": "green", "note": "", "warning": "yellow", "problem": "red"}
_SECONDS = 5.0
_SKEW = 300.0


@attrs.frozen
class Finding:
    """One line: `level` is ok, note, warning or problem; `code` is the exit code that a problem asks for."""

    check: str
    level: str
    text: str
    code: int = 0


@click.command(short_help="Look for what is missing or wrong: configuration, keys, plugins, clock.")
@config_option
@click.option("--online", is_flag=True, help="Also see whether each vendor's host answers; no key is sent.")
@with_output_options
def doctor(config: str | None, online: bool, as_json: bool, no_color: bool) -> None:
    """Look for what is missing or wrong: versions, configuration, keys, plugins, clock.

    Names where each key comes from, never the key. Nothing is sent anywhere without --online.
    """
    findings = list(_findings(config, online))
    if as_json:
        print_json({"findings": [attrs.asdict(finding) for finding in findings], "ok": not _code(findings)})
    else:
        out = console(no_color)
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            out.print(f"{finding.level:<8} {finding.check:<{width}}  {harmless(finding.text)}", style=_STYLES[finding.level])
    click.get_current_context().exit(_code(findings))


def _code(findings: list[Finding]) -> int:
    """A wrong configuration outweighs a missing key, and both a host that does not answer."""
    codes = {finding.code for finding in findings if finding.level == "problem"}
    return next((code for code in (CONFIGURATION, KEY, CALL_FAILED) if code in codes), 0)


def _findings(config: str | None, online: bool) -> Iterator[Finding]:
    from cnroute.config import CONFIG, plugin_host

    file = config or os.environ.get(CONFIG)
    host = plugin_host()
    yield from _versions()
    yield from _configuration(file, host)
    yield from _keys(host, needed=not file)
    yield from (Finding("environment", "note", f"{name} {reason}") for name, reason in _OTHERS.items() if os.environ.get(name))
    yield from _plugins(host)
    yield Finding("store", "ok", "memory: breaker, cool-downs and limits live in each process")
    yield _clock()
    if online:
        yield from _online(file, host)


def _versions() -> Iterator[Finding]:
    yield Finding("cnroute", "ok", f"{cnroute.__version__} on Python {platform.python_version()}, {platform.system()}")
    names = ("urllib3", "pluggy", "attrs", "cattrs", "structlog", "orjson")
    yield Finding("libraries", "ok", ", ".join(filter(None, map(_version, names))))


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


def _configuration(file: str | None, host: Any) -> Iterator[Finding]:
    from cnroute.config import CONFIG, problems_of

    if not file:
        yield Finding("configuration", "note", f"none: no --config and no {CONFIG}; keys of the environment make the accounts")
        return
    problems = problems_of(file, host)
    if not problems:
        yield Finding("configuration", "ok", file)
    for problem in problems:
        code = KEY if problem.key.endswith(".api_key") else CONFIGURATION
        yield Finding("configuration", "problem", str(problem), code)


def _keys(host: Any, *, needed: bool) -> Iterator[Finding]:
    """Where each provider's key comes from. Without a configuration at least one is needed."""
    from cnroute.config import key_sources

    ready = False
    for source in key_sources(host):
        if source.secret is None:
            yield Finding(f"key of {source.provider}", "note", f"none; looked at {', '.join(source.looked)}")
            continue
        try:
            source.secret.reveal()
        except cnroute.ConfigurationError as error:
            yield Finding(f"key of {source.provider}", "problem", str(error), KEY)
            continue
        if source.missing:
            text = f"from {source.secret.origin}, but {', '.join(source.missing)} is not set"
            yield Finding(f"key of {source.provider}", "note", text)
            continue
        ready = True
        yield Finding(f"key of {source.provider}", "ok", f"from {source.secret.origin}")
    if needed and not ready:
        yield Finding("keys", "problem", "no provider has a key; set one of the variables above, or try `cnroute demo`", KEY)


def _plugins(host: Any) -> Iterator[Finding]:
    states = host.plugins()
    kinds = dict.fromkeys(state.state for state in states)
    counts = ", ".join(f"{sum(state.state == kind for state in states)} {kind}" for kind in kinds)
    yield Finding("plugins", "ok", counts or "none")
    yield from (Finding("plugins", "warning", str(problem)) for problem in host.problems)


def _clock() -> Finding:
    """A clock that stands before this very file was written is wrong; certificates would fail."""
    written = Path(__file__).stat().st_mtime
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if time.time() < written - _SKEW:
        return Finding("clock", "warning", f"{now} is before cnroute was installed; certificates may seem not yet valid")
    return Finding("clock", "ok", now)


# -- only when asked -------------------------------------------------------------------------------------


def _online(file: str | None, host: Any) -> Iterator[Finding]:
    yield from (_visited(url) for url in dict.fromkeys(_base_urls(file, host)))


def _base_urls(file: str | None, host: Any) -> Iterator[str]:
    from cnroute.config import base_urls, environment_arguments, router_arguments

    try:
        arguments = router_arguments(file) if file else environment_arguments()
    except cnroute.ConfigurationError:
        return  # said already
    yield from base_urls(arguments, host)


def _visited(url: str) -> Finding:
    begun = time.monotonic()
    try:
        status, date = _get(url)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return Finding("online", "problem", f"{url}: does not answer: {reason}", CALL_FAILED)
    took = f"{(time.monotonic() - begun) * 1000:.0f} ms"
    skew = _skew(date)
    if skew is not None and abs(skew) > _SKEW:
        return Finding("online", "warning", f"{url}: answers in {took}, but its clock differs by {skew:+.0f} s")
    return Finding("online", "ok", f"{url}: answers in {took} (HTTP {status}, no key sent)")


def _get(url: str) -> tuple[int, str | None]:
    """Status and Date of a GET without a key, without a redirect, without a proxy."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", parts.path or "/", headers={"User-Agent": "cnroute-doctor"})
        response = connection.getresponse()
        return response.status, response.getheader("Date")
    finally:
        connection.close()


def _skew(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time() if date else None
    except ValueError:
        return None

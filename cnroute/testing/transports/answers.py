"""Checks of whole answers: what is sent, what counts as an answer, what a transport must not do by itself."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path

from cnroute.failures import FailureKind
from cnroute.testing.contract.checking import check, require, same
from cnroute.testing.transports.base import TransportBase, environment
from cnroute.testing.transports.groups import ANSWER
from cnroute.testing.transports.rawserver import Action, chunked, fin, good, head, request, rst, send
from cnroute.testing.transports.wires import GROUP

K = FailureKind
_ANSWERS = "raise nothing for 4xx and 5xx"
TEXT = "你好, wire. ".encode() * 20


class AnswerChecks(TransportBase):
    """Group 1."""

    @check(ANSWER)
    def test_a_whole_answer_has_status_headers_and_body(self) -> None:
        """`send` returns status, headers and body as the server sent them; the case of header names does not matter."""
        script = [request, send(good(TEXT, "X-Request-Id: r-1", "Retry-After: 7"))]
        with self.wire(script) as wire:
            answer = wire.send()
        same("the status is the server's", 200, answer.status, change="return the status as an int")
        same("the body is the server's", TEXT, answer.body, change="return the body's bytes, complete and unpacked")
        for name in ("x-request-id", "X-REQUEST-ID", "X-Request-Id"):
            same(
                "header names ignore case",
                "r-1",
                answer.headers.get(name),
                change="give HttpResponse the headers as a mapping or as pairs: it makes Headers of them",
            )

    @check(ANSWER)
    def test_a_request_arrives_as_it_was_made(self) -> None:
        """Method, path, query, every header and every byte of the body, with its length."""
        body = b'{"text": "\xe4\xbd\xa0\xe5\xa5\xbd"}' + bytes(range(256))
        with self.wire() as wire:
            wire.send(body, headers={"X-Own": "yes, it is"})
            ((head_, arrived),) = wire.server.requests
        lines = head_.decode("latin-1").split("\r\n")
        same("the request line is the URL's", f"POST /v1/chat?GroupId={GROUP} HTTP/1.1", lines[0], change="send the URL as it is")
        same("the body arrives as it is", body, arrived, change="send HttpRequest.body as it is")
        fields = [line.lower() for line in lines[1:]]
        for wanted in ("x-own: yes, it is", "content-type: application/json", f"content-length: {len(body)}"):
            same(
                "each header arrives once",
                1,
                fields.count(wanted),
                sample=wanted,
                change="send the request's headers as they are",
            )
        same("one Host", 1, sum(line.startswith("host:") for line in fields), change="let the library name the host, once")

    @check(ANSWER)
    def test_statuses_of_refusals_are_answers(self) -> None:
        """A status of 4xx or 5xx is returned with its body; what it means is the provider's to say."""
        for status in (400, 401, 404, 413, 429, 500, 503, 529):
            answer = send(head("Content-Length: 5", status=f"{status} No") + b"sorry")
            with self.wire([request, answer, request, answer], [request, answer]) as wire:
                sent, opened = wire.send(), wire.open()
                same("a refusal is an answer", (status, b"sorry"), (sent.status, sent.body), change=_ANSWERS)
                same("a refused stream is an answer", (status, b"sorry"), (opened.status, opened.rest()), change=_ANSWERS)

    @check(ANSWER)
    def test_every_framing_is_read_to_its_end(self) -> None:
        """A length, chunks, or the end of the connection."""
        framings = {
            "length": [request, send(good(TEXT))],
            "chunks": [request, send(chunked(TEXT[:7], TEXT[7:100], TEXT[100:]))],
            "end of the connection": [request, send(head() + TEXT), fin],
            "nothing": [request, send(good(b""))],
        }
        for name, script in framings.items():
            for way in (0, 1):
                with self.wire(script) as wire:
                    body = wire.ways()[way][1]()
                wanted = b"" if name == "nothing" else TEXT
                same("the body is complete", wanted, body, sample=name, change="read to the end of the framing")

    @check(ANSWER)
    def test_gzip_and_deflate_are_unpacked_or_refused(self) -> None:
        """Packed bytes are never handed out as they are: unpacked, or `decode_error` where unpacks_gzip = False."""
        for coding, packed in (("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT))):
            script = [request, send(good(packed, f"Content-Encoding: {coding}"))]
            for way in (0, 1):
                with self.wire(script) as wire:
                    call = wire.ways()[way][1]
                    if not self.unpacks_gzip:
                        wire.failure(call, K.DECODE_ERROR, why="unpacks_gzip = False")
                    else:
                        same(
                            "a packed body is unpacked", TEXT, call(), sample=coding, change="unpack, or set unpacks_gzip = False"
                        )

    @check(ANSWER)
    def test_an_encoding_that_nobody_asked_for_is_a_failure(self) -> None:
        """`decode_error`, never the packed bytes."""
        for way in (0, 1):
            with self.wire([request, send(good(TEXT, "Content-Encoding: br"))]) as wire:
                wire.failure(wire.ways()[way][1], K.DECODE_ERROR, K.PROTOCOL_ERROR)

    @check(ANSWER)
    def test_statuses_without_an_answer_are_failures(self) -> None:
        """101, 204, 205 and 304 promise no body: `protocol_error`, and the next call gets its own answer."""
        for status in ("101 Switching Protocols", "204 No Content", "205 Reset Content", "304 Not Modified"):
            with self.wire([request, send(head("Content-Length: 0", status=status))]) as wire:
                wire.failure(wire.send, K.PROTOCOL_ERROR, why=f"for status {status}")
                same(
                    "the next call gets its own answer",
                    b"next",
                    wire.send(b"next").body,
                    sample=status,
                    change="close the connection",
                )

    @check(ANSWER)
    def test_early_hints_are_not_the_answer(self) -> None:
        """After 103 comes the answer itself: it is returned, or all of it is a `protocol_error`; nobody else gets it."""
        with self.wire([request, send(head(status="103 Early Hints") + good(TEXT))]) as wire:
            try:
                answer = wire.send()
            except Exception:  # noqa: BLE001 (made anew, to be looked at)
                wire.deadline = wire.new_deadline()
            else:
                same(
                    "the answer behind 103 is the answer", (200, TEXT), (answer.status, answer.body), change="read on behind 1xx"
                )
            same("the next call gets its own answer", b"next", wire.send(b"next").body, change="close a connection after 103")

    @check(ANSWER)
    def test_redirects_are_never_followed(self) -> None:
        """Every 3xx is a `redirect`; nothing is sent to its target, and the message shows no more of it than its host."""
        with self.wire() as target:
            place = f"{target.deployment.base_url}/canary-place?canary-place=1"
            for status in (301, 302, 303, 307, 308):
                script = [request, send(head(f"Location: {place}", "Content-Length: 0", status=f"{status} Go"))]
                with self.wire(script) as wire:
                    error = wire.failure(wire.send, K.REDIRECT, why=f"for status {status}")
                same("the status is kept", status, error.http_status, change="Failure(..., http_status=status)")
            same("nothing was sent to the target", 0, target.server.connections, change="switch the library's redirects off")

    @check(ANSWER)
    def test_nothing_is_retried(self) -> None:
        """One request for each call on a fresh connection, whatever happens to it: retries are the router's."""
        endings: dict[str, list[Action]] = {
            "503": [request, send(head("Content-Length: 0", "Retry-After: 0", status="503 Busy")), fin],
            "fin": [request, fin],
            "rst": [request, rst],
        }
        for name, script in endings.items():
            with self.wire(script) as wire:
                if name == "503":
                    wire.send()
                else:
                    wire.failure(wire.send, K.CONNECTION_LOST)
                same(
                    "a request is sent once", 1, len(wire.server.requests), sample=name, change="switch the library's retries off"
                )

    @check(ANSWER)
    def test_no_cookie_is_kept(self) -> None:
        """What a vendor's gateway sets stands in no later request."""
        script = [request, send(good(b"ok", "Set-Cookie: session=1; Path=/"))]
        with self.wire(script) as wire:
            wire.send()
            wire.send()
            heads = [head_.lower() for head_, _ in wire.server.requests]
        require(
            len(heads) == 2 and not any(b"cookie" in each for each in heads),
            "no cookie is sent",
            expected="two requests without",
            got=heads[-1],
            change="use no session or client that keeps cookies",
        )

    @check(ANSWER)
    def test_nothing_comes_from_the_environment(self) -> None:
        """Proxies and netrc files of the environment do not touch a vendor's calls, nor do its own headers."""
        with tempfile.TemporaryDirectory() as folder:
            netrc = Path(folder, "netrc")
            netrc.write_text("machine 127.0.0.1 login canary password canary\n", "ascii")
            dead = "http://127.0.0.1:9"
            with (
                environment(
                    http_proxy=dead, HTTP_PROXY=dead, all_proxy=dead, ALL_PROXY=dead, no_proxy="", NO_PROXY="", NETRC=str(netrc)
                ),
                self.wire() as wire,
            ):
                wire.send()
                ((head_, _),) = wire.server.requests
        lines = head_.decode("latin-1").split("\r\n")
        require(
            lines[0].startswith("POST /v1/") and "Basic" not in head_.decode("latin-1"),
            "the environment changes nothing",
            expected="the deployment's own origin and headers",
            got=lines,
            change="switch trust in the environment off",
        )

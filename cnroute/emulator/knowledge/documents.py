"""The text of a stored file, by its type: txt, jsonl, docx, pdf (the types that the upload page lists for retrieval).

Good enough to split and search, with the standard library alone: a pdf gives the texts that stand in it as literal
strings (most pdfs with Latin letters), and nothing where its fonts number their characters.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from cnroute.emulator.exchange import Refusal

WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MOST_BYTES = 64 * (1 << 20)
STREAMS = re.compile(rb"stream\r?\n(.*?)\r?\n?endstream", re.DOTALL)
SHOWN = re.compile(rb"\(((?:[^()\\]|\\.)*)\)|(T\*|Td|TD|ET|')", re.DOTALL)
ESCAPES = re.compile(rb"\\([()\\])")


def unreadable(name: str) -> Refusal:
    """The refusal of a file whose text cannot be had."""
    return Refusal("2013", f"invalid params, the content of file {name} cannot be parsed")


def text_of(path: Path, name: str) -> str:
    """The text of a file. Raises the vendor's refusal where it cannot be read."""
    try:
        return READERS[suffix(name)](path)
    except (ValueError, zipfile.BadZipFile, zlib.error, ElementTree.ParseError, KeyError, OSError):
        raise unreadable(name) from None


def suffix(name: str) -> str:
    """The type of a file: the end of its name in lower case, without the dot."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def _plain(path: Path) -> str:
    """UTF-8 with or without a mark, else GB18030, which most older Chinese files are."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030")


def _docx(path: Path) -> str:
    """The paragraphs of the main part."""
    with zipfile.ZipFile(path) as archive, archive.open("word/document.xml") as part:
        root = ElementTree.fromstring(part.read(MOST_BYTES))
    paragraphs = root.iter(f"{WORD}p")
    return "\n".join("".join(node.text or "" for node in one.iter(f"{WORD}t")) for one in paragraphs)


def _pdf(path: Path) -> str:
    """The literal strings of its content streams; a new line where the page moves to one."""
    data = path.read_bytes()[:MOST_BYTES]
    if not data.startswith(b"%PDF-"):
        raise ValueError("no pdf")
    return "\n".join(filter(None, (_strings(_unpacked(found[1])) for found in STREAMS.finditer(data)))).strip()


def _unpacked(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream, MOST_BYTES)
    except zlib.error:
        return stream


def _strings(stream: bytes) -> str:
    if b"BT" not in stream:
        return ""
    parts = ("\n" if mark else ESCAPES.sub(rb"\1", shown).decode("latin-1") for shown, mark in SHOWN.findall(stream))
    return "".join(parts).strip()


READERS: dict[str, Callable[[Path], str]] = {"txt": _plain, "jsonl": _plain, "docx": _docx, "pdf": _pdf}

"""Large files pass through: memory holds pieces of them, and never the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.knowledge.vendor import Exchange, Vendor

ROOT = Path(__file__).resolve().parents[2]
MB = 2**20


def content(size: int) -> object:
    """An answer of so many zeros, which nobody keeps."""

    def fault(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 65536):
            exchange.sock.sendall(bytes(65536))
        exchange.sock.sendall(bytes(size % 65536))

    return fault


@pytest.mark.parametrize("megabytes", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_a_large_file_takes_a_tenth_of_its_size_at_most(vendor: Vendor, tmp_path: Path, megabytes: int) -> None:
    """200 MB up and 200 MB down, each with less than 20 MB of memory on top; by default a quarter of it."""
    size = megabytes * MB
    vendor.keep = 100_000
    vendor.files[1] = {"file_id": 1, "bytes": 200_000}
    vendor.fail("/files/retrieve_content", content(200_000), content(size))  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.knowledge.memory", vendor.base_url, str(size), str(tmp_path)],
        capture_output=True, text=True, timeout=100, cwd=ROOT, check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    grown = json.loads(done.stdout)
    assert grown["bytes"] == (tmp_path / "back.txt").stat().st_size == size
    assert [file["bytes"] for file in vendor.files.values()] == [200_000, 200_000, size]
    assert 0 <= grown["upload"] < size / 10 and 0 <= grown["download"] < size / 10, grown

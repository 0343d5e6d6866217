"""Uploads and downloads files of a given size, in a process of its own: how much memory does each take on top?

`python -m tests.knowledge.memory BASE_URL BYTES FOLDER` prints the growth of the largest resident size, in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import cnroute
from tests.knowledge.vendor import GROUP, KEY


def largest() -> int:
    """The largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(base_url: str, size: str, folder: str) -> None:
    source, target = Path(folder, "large.txt"), Path(folder, "back.txt")
    with open(source, "wb") as file:
        file.truncate(int(size))
    with cnroute.KnowledgeClient(KEY, GROUP, base_url=base_url) as kb:
        kb.upload(b"x" * 200_000, name="small.txt")  # whatever is loaded or kept once is there before the measuring
        kb.download(1, Path(folder, "small.txt"))
        begun = largest()
        file_id = kb.upload(source).id
        uploaded = largest()
        got = kb.download(file_id, target)
        downloaded = largest()
    print(json.dumps({"upload": uploaded - begun, "download": downloaded - uploaded, "bytes": got, "base": begun}))


if __name__ == "__main__":
    main(*sys.argv[1:])

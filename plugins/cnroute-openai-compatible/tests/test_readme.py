"""The README's program, with the plugin found by its entry points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_program_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It plans a call; nothing is sent."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-test-0123456789")
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    names["router"].close()  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "['ds', 'local']\n"

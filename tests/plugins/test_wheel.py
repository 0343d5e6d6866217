"""A wheel with every kind of broken plugin in it: the host starts, the others work, each culprit is named."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.cli import main
from cnroute.testing import FakeTransport
from tests.plugins.test_host import GOOD
from tests.test_counts import counts  # noqa: F401 (a fixture)

DIST = "broken_plugins-3.1.dist-info"
POINTS = (
    "crashing = crashing", "misspelt = misspelt", "raising = raising", "dashscope = thief", "fine = fine", "watching = watching",
)  # fmt: skip
MODULES = {
    "crashing": "import json\njson.loads('{')\n",
    "misspelt": "import cnroute\n\n@cnroute.hookimpl\ndef observe(notise):\n    pass\n",
    "raising": f"NAME = 'raising'{GOOD}\n@cnroute.hookimpl\ndef map_error(response):\n    return {{}}['no such key']\n",
    "thief": "raise AssertionError('imported')\n",
    "fine": f"NAME = 'fine'{GOOD}",
    "watching": "import cnroute\n\n@cnroute.hookimpl(wrapper=True)\ndef parse_response(deployment):\n    made = yield\n"
    "    if deployment.model == 'wrapped':\n        raise KeyError('of the wrapper')\n    return made\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed by pip. A wheel is an archive of files and their description (PEP 427)."""
    files = {f"{name}.py": text for name, text in MODULES.items()} | {
        f"{DIST}/METADATA": "Metadata-Version: 2.1\nName: broken-plugins\nVersion: 3.1\n",
        f"{DIST}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{DIST}/entry_points.txt": "\n".join(("[cnroute]", *POINTS, "")),
    }
    files[f"{DIST}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{DIST}/RECORD"))
    made, target = tmp_path_factory.mktemp("wheel") / "broken_plugins-3.1-py3-none-any.whl", tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--target", str(target)]
    done = subprocess.run([*command, str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The site on the search path; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def router(*models: str, transport: FakeTransport, provider: str) -> cnroute.Router:
    deployments = [cnroute.Deployment(model, provider, model, api_key="k-123456") for model in models]
    deployments.append(cnroute.Deployment("good", "fine", "m", api_key="k-123456"))
    return cnroute.Router(deployments, {"chat": [*models, "good"]}, transport=transport, plugins=cnroute.PluginHost())


@pytest.mark.usefixtures("installed")
def test_each_culprit_is_named_and_the_others_work() -> None:
    """Crashing import, wrong signature and stolen name are problems of the host; the raising hook is one of its attempt."""
    host = cnroute.PluginHost()
    problems = {each.plugin: each for each in host.problems}
    assert problems.keys() == {"crashing", "misspelt", "dashscope"}
    assert {each.distribution for each in problems.values()} == {"broken-plugins 3.1"}
    assert "JSONDecodeError" in problems["crashing"].reason and "decoder.py:" in problems["crashing"].reason
    assert "observe has an argument notise" in problems["misspelt"].reason and "misspelt.py:3" in problems["misspelt"].reason
    assert "built-in" in problems["dashscope"].reason and "thief" not in sys.modules
    made = router("a", provider="raising", transport=FakeTransport([{"text": "hi"}]))
    reply = made.chat("x", model="chat")
    assert (reply.text, reply.deployment) == ("hi", "good")
    failure = reply.attempts[0].failure
    assert failure is not None and "(raising.py:" in failure.message
    assert failure.message.startswith("plugin raising (broken-plugins 3.1): map_error raised KeyError")
    with pytest.raises(cnroute.HookError) as caught:
        made.chat("x", model="a")
    assert (caught.value.plugin, caught.value.distribution, caught.value.hook) == ("raising", "broken-plugins 3.1", "map_error")


@pytest.mark.usefixtures("installed")
def test_a_wrapper_that_raises_is_named_and_not_the_provider() -> None:
    """The provider that it wraps is not to blame."""
    made = router("wrapped", provider="fine", transport=FakeTransport([{"text": "hi"}]))
    with pytest.raises(cnroute.HookError) as caught:
        made.chat("x", model="wrapped")
    culprit = (caught.value.plugin, caught.value.distribution, caught.value.hook)
    assert culprit == ("watching", "broken-plugins 3.1", "parse_response")
    assert "(watching.py:7)" in caught.value.message
    assert made.chat("x", model="chat").deployment == "good"


@pytest.mark.usefixtures("installed")
def test_the_command_lists_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Built-in, loaded, quarantined and a stolen name, each with distribution, version, hooks and state."""
    assert main(["plugins", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["plugins"]
    found = {(row["name"], row["state"]): row for row in rows}
    ours = {("crashing", "quarantined"), ("misspelt", "quarantined"), ("dashscope", "quarantined"), ("raising", "loaded"),
            ("fine", "loaded"), ("watching", "loaded")}  # fmt: skip
    assert ours | {("dashscope", "built-in")} <= found.keys()
    assert {found[key]["version"] for key in ours} == {"3.1"}
    assert {found[key]["distribution"] for key in ours} == {"broken-plugins 3.1"}
    assert found["watching", "loaded"]["hooks"] == ["parse_response"]
    assert found["dashscope", "built-in"]["version"] == cnroute.__version__
    assert all(found[key]["reason"] for key in ours if key[1] == "quarantined")


def test_a_line_costs_the_same_with_3_and_with_50_plugins(counts: Any) -> None:  # noqa: F811 (a fixture)
    """Counted in Python calls, from the bytes to the consumer: the ratio is 1."""
    costs = {number: counts._each_line("dashscope", (20, 60), plugins=number) for number in (3, 50)}
    assert costs[3] == costs[50] > 0

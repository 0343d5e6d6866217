"""Who may import whom (docs/design.md), as data; a walk over every import, those inside functions too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import cnroute

PACKAGE = Path(cnroute.__file__).parent

VALUES = frozenset(
    ["accounts", "chat", "codec", "deployments", "errors", "events", "failures", "http", "money", "notices", "settings"]
)
CONTRACT = frozenset(("hookspecs", "wire"))
DECIDING = VALUES | CONTRACT
BELOW = frozenset(["catalogue", "flow", "plugins", "providers", "routing", "stores", "transports"])
ROUTERS = DECIDING | BELOW | frozenset(["aio", "arguments", "binding", "engine", "knowledge", "router", "scope"])
EDGES = ROUTERS | frozenset(["cli", "config", "emulator", "explain", "observe", "simulate", "testing"])

# Where the standard library meets the world: rooms that only decide stay away from it.
WORLD = frozenset(
    ["asyncio", "concurrent", "http.client", "selectors", "select", "socket", "ssl", "subprocess", "time", "urllib.request"]
)


class Room(NamedTuple):
    """What a room may import: rooms of cnroute, other distributions; `pure` rooms import nothing of the world."""

    rooms: frozenset[str]
    libraries: frozenset[str] = frozenset()
    pure: bool = False


ATTRS = frozenset({"attrs"})
TABLE: dict[str, Room] = {
    # 0 values
    **{name: Room(VALUES, ATTRS, pure=True) for name in VALUES},
    "codec": Room(VALUES, ATTRS | {"orjson"}, pure=True),
    # 1 plugin contract
    "hookspecs": Room(DECIDING, ATTRS | {"pluggy"}, pure=True),
    "wire": Room(DECIDING, ATTRS | {"cattrs"}, pure=True),
    # 1 data
    "catalogue": Room(VALUES, ATTRS, pure=True),
    # 2 vendors, policies
    "providers": Room(DECIDING | {"catalogue", "providers"}, ATTRS, pure=True),
    "routing": Room(DECIDING | {"routing"}, ATTRS, pure=True),
    # 2 transports, stores
    "transports": Room(VALUES | {"transports"}, ATTRS | {"urllib3"}),
    "stores": Room(VALUES | {"stores"}, ATTRS | {"redis"}),
    # 3 host
    "plugins": Room(DECIDING | {"plugins"}, ATTRS | {"pluggy"}),
    # 4 flow
    "flow": Room(VALUES | {"routing", "flow"}, ATTRS, pure=True),
    # 5 routers
    **{name: Room(ROUTERS, ATTRS) for name in ("aio", "arguments", "binding", "engine", "knowledge", "router", "scope")},
    # 6 edges
    "config": Room(EDGES, ATTRS | {"cattrs"}),
    "explain": Room(VALUES | {"observe"}, ATTRS),
    "observe": Room(EDGES, ATTRS | {"structlog"}),
    "cli": Room(EDGES, ATTRS | {"click", "rich", "dotenv"}),
    "simulate": Room(EDGES, ATTRS),
    "testing": Room(EDGES, ATTRS | {"pytest", "hypothesis"}),
    # aside
    "emulator": Room(frozenset(("emulator", "http"))),
    # the door: it names its rooms, and imports them when they are asked for
    "": Room(frozenset()),
    "__main__": Room(EDGES),
}

# Imports that the table forbids and a reason allows. Each is made inside a function, so that it loads nothing by itself.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("chat", "explain"): "ChatCompletion.record and .explain are conveniences; explain knows values only",
    ("errors", "explain"): "CallError.record and .explain likewise",
    ("routing", "explain"): "Plan.record and .explain likewise",
    ("binding", "config"): "Router(prices=FILE) is a convenience, too",
    ("router", "config"): "Router.from_config and .from_env are conveniences",
    ("knowledge", "config"): "KnowledgeClient.from_config and .from_env likewise",
    ("scope", "observe"): "a stranger's stream that cannot be closed is logged; nothing is loaded for it before",
    ("engine", "observe"): "the library's own log is one of the observers, and structlog is loaded with the first router",
}


class Import(NamedTuple):
    """One import: `where` is file and line, `module` who imports, `target` what, `lazy` inside a function."""

    where: str
    module: str
    target: str
    lazy: bool

    @property
    def room(self) -> str:
        return room_of(self.module)

    @property
    def own(self) -> bool:
        return self.target == "cnroute" or self.target.startswith("cnroute.")

    @property
    def target_room(self) -> str:
        return room_of(self.target)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import below `node` that runs, with whether it stands inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        elif isinstance(child, ast.expr):
            continue  # no import stands in one, and they are most of a file
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from statements(other, lazy)
        else:
            yield from statements(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def targets(node: ast.Import | ast.ImportFrom, module: str, package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = module.split(".") if package else module.split(".")[:-1]
        base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        yield whole if base.partition(".")[0] == "cnroute" and is_module(whole) else base


def is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports() -> list[Import]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE.parent)
        if "templates" in relative.parts:
            continue
        package = path.name == "__init__.py"
        module = ".".join(relative.parent.parts if package else relative.with_suffix("").parts)
        for node, lazy in statements(ast.parse(path.read_text("utf-8"))):
            for target in targets(node, module, package):
                found.append(Import(f"{relative}:{node.lineno}", module, target, lazy))
    return found


IMPORTS = imports()


def test_every_room_stands_in_the_table() -> None:
    """A new file or folder of cnroute gets its layer before it gets users."""
    files = {path.stem for path in PACKAGE.glob("*.py")}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert (files | folders) - {"__init__"} <= TABLE.keys()


@pytest.mark.parametrize("room", sorted(TABLE))
def test_a_room_imports_only_what_its_layer_may(room: str) -> None:
    """Each import of one of our own rooms is allowed by the table, or is an exception with a reason."""
    allowed = TABLE[room].rooms
    wrong = [
        f"{each.where} imports {each.target}"
        for each in IMPORTS
        if each.room == room and each.own and each.target_room not in allowed | {room, ""}
        and not (each.lazy and (room, each.target_room) in EXCEPTIONS)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", sorted(TABLE))
def test_a_room_imports_only_its_own_libraries(room: str) -> None:
    """urllib3 is the transports', pluggy the plugin contract's and the host's, structlog the log's."""
    wrong = [
        f"{each.where} imports {each.target}"
        for each in IMPORTS
        if each.room == room and not each.own
        and (library := each.target.partition(".")[0]) not in sys.stdlib_module_names
        and library not in TABLE[room].libraries
    ]
    assert wrong == []


@pytest.mark.parametrize("room", sorted(name for name, row in TABLE.items() if row.pure))
def test_what_decides_touches_nothing_of_the_world(room: str) -> None:
    """Values, hooks, policies and the flow know no socket, no clock, no asyncio."""
    wrong = [
        f"{each.where} imports {each.target}"
        for each in IMPORTS
        if each.room == room and (each.target in WORLD or each.target.partition(".")[0] in WORLD)
    ]
    assert wrong == []


def test_providers_use_only_what_a_strangers_plugin_can_import() -> None:
    """The built-in vendors have no private door: no module of ours whose name begins with an underscore."""
    ours = [each for each in IMPORTS if each.room == "providers" and each.own]
    wrong = [each.where for each in ours if any(part.startswith("_") for part in each.target.split("."))]
    assert wrong == []


def test_what_values_import_late_rests_on_values() -> None:
    """`reply.explain()` loads no router: whatever `cnroute.explain` imports leads to values only."""
    seen, left = set[str](), ["cnroute.explain"]
    while left:
        module = left.pop()
        seen.add(module)
        left += {each.target for each in IMPORTS if each.module == module and each.own and not each.lazy} - seen
    assert {room_of(module) for module in seen} <= VALUES | {"", "explain", "observe"}


def test_every_exception_is_still_needed() -> None:
    """An exception that nobody uses any more goes."""
    used = {(each.room, each.target_room) for each in IMPORTS if each.own}
    assert used >= EXCEPTIONS.keys()

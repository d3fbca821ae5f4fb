"""A file imports only from its own floor and those below; and what no source file may hold."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "poolinfer"
FILES = sorted(SRC.rglob("*.py"))
MOST_LINES = 350

FLOORS = (
    "_errors _options _requests _results _prompt _events _spec _threads",
    "_limits _budget _plain _tools _messages _normalize _wire _frames _shapes _executor _gguf _gguf_parse"
    " _gguf_reader _machine _environment _lifeline _logs",
    "_engine",
    "_executors _worker _zygote",
    "_wake _ticket _pool_log _admission _checker _stats _deadlines _dispatch _callbacks _lifecycle _call"
    " _endings _bulk _map _texts _calls _model _place _lane_spec _pool",
    "__init__ __main__ _bench _demo testing",
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names.split()}


def _name(path: Path) -> str:
    """A file's dotted name below poolinfer."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def _floor(name: str) -> int:
    return FLOOR_OF[name.split(".")[0]]


def _is_module(name: str) -> bool:
    if not name.startswith("poolinfer."):
        return True
    place = SRC.joinpath(*name.split(".")[1:])
    return place.is_dir() or place.with_suffix(".py").is_file()


def _imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports anywhere, relative ones made absolute."""
    package = ".".join(["poolinfer", *path.relative_to(SRC).parent.parts])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            # `from . import x` imports a module x, or takes a name of the package's own.
            names = [base] if node.module else [f"{base}.{alias.name}" for alias in node.names]
            found.update(name if _is_module(name) else f"{base}.__init__" for name in names)
    return found


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_down(path):
    own = _floor(_name(path))
    for module in _imports(path):
        if module.startswith("poolinfer."):
            below = module.removeprefix("poolinfer.")
            assert _floor(below) <= own, f"{_name(path)} (floor {own}) imports {below}"
        elif module == "poolinfer":
            assert own == len(FLOORS) - 1, f"{_name(path)} imports the public face"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_only_one_file_imports_llama_cpp(path):
    if _name(path) != "_engine.llama":
        assert not [module for module in _imports(path) if module.split(".")[0] == "llama_cpp"]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_vanishes_or_swallows(path):
    """No assert (gone under ``-O``), no bare except, no wall clock."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        bare = isinstance(node, ast.ExceptHandler) and node.type is None
        assert not bare, f"bare except in line {node.lineno}"
    assert "time.time(" not in path.read_text()


def test_every_module_has_a_floor():
    unknown = {_name(path) for path in FILES if _name(path).split(".")[0] not in FLOOR_OF}
    assert not unknown


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_thread_has_a_stack_of_our_size(path):
    if _name(path) != "_threads" and not _name(path).startswith("testing."):
        assert "threading.Thread(" not in path.read_text(), "use poolinfer._system.threads.OwnThread"

"""Scripts in benchmarks, tools and examples name what poolinfer has: a rename in src shows here at once."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path for folder in ("benchmarks", "tools", "examples") for path in (ROOT / folder).rglob("*.py")
)


def imported(tree: ast.AST) -> dict[str, Any]:
    """Each name that a script imports from poolinfer, with what it is."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                item.asname or item.name: importlib.import_module(item.name)
                for item in node.names
                if item.name.partition(".")[0] == "poolinfer"
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "poolinfer":
            module = importlib.import_module(str(node.module))
            found |= {item.asname or item.name: getattr(module, item.name) for item in node.names}
    return found


def missing(tree: ast.AST) -> Iterator[str]:
    """Attributes of imported names that these do not have."""
    known = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name in known and not hasattr(known[name], node.attr):
                yield f"line {node.lineno}: {name}.{node.attr}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_names_what_there_is(path):
    assert not list(missing(ast.parse(path.read_text(encoding="utf-8"))))


def test_a_name_that_is_gone_is_found():
    tree = ast.parse(
        "import poolinfer\nfrom poolinfer._engine.lane.lane import Lane\npoolinfer.Pol, Lane._walk"
    )
    assert list(missing(tree)) == ["line 3: poolinfer.Pol", "line 3: Lane._walk"]
    with pytest.raises(AttributeError):
        imported(ast.parse("from poolinfer._engine.lane.lane import Lama"))
    with pytest.raises(ModuleNotFoundError):
        imported(ast.parse("from poolinfer._lanes import Lane"))

"""``python tools/imports.py`` draws which folder of poolinfer imports which; ``--docs`` pastes it into the docs.

A room is a folder of src/poolinfer. Its floor is one above the highest room that it imports. Imports inside
functions, and those for type checkers alone, count as well. An argument is the folder of another package to draw.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src" / "poolinfer"
PAGE = SRC.parents[1] / "docs" / "architecture.md"
_PASTED = re.compile(r"(?<=<!-- imports -->\n\n```text\n).*?(?=```\n\n<!-- /imports -->)", re.DOTALL)
_MOST_COLUMNS = 110

ROOF = "(top)"  # The package's own files: the public names, which are no room but what all rooms are under.

Arrows = dict[str, set[str]]  # Each file, or each room, and those that it imports.


def imports_of(path: Path, src: Path) -> set[str]:
    """The dotted names of all modules that a file imports anywhere."""
    package = ".".join(path.relative_to(src.parent).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if _is_module(inner, src) else base)
    return found


def files(src: Path = SRC) -> Arrows:
    """Each module of the package and the modules of the package that it imports."""
    return {
        _module_of(path, src): {name for name in imports_of(path, src) if name.split(".")[0] == src.name}
        for path in sorted(src.rglob("*.py"))
    }


def rooms(src: Path = SRC) -> Arrows:
    """Each room and the other rooms that its files import."""
    found: Arrows = {}
    for module, imported in files(src).items():
        found.setdefault(_room_of(module, src), set()).update(_room_of(name, src) for name in imported)
    return {room: below - {room} for room, below in found.items()}


def circles(arrows: Arrows) -> list[list[str]]:
    """Groups whose members import each other, directly or not (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for below in sorted(arrows[node]):
            if below not in index:
                visit(below)
            if below in stack:
                lowest[node] = min(lowest[node], lowest[below])
        if lowest[node] == index[node]:
            start = stack.index(node)
            if len(stack) > start + 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def floors(arrows: Arrows) -> dict[str, int]:
    """The floor of each room: 0 for one that imports no other. All rooms of a circle have the same."""
    height = dict.fromkeys(arrows, 0)
    together = {room: group for group in circles(arrows) for room in group}
    # As many rounds as there are rooms are enough for the longest way up.
    for _ in arrows:
        for room, below in arrows.items():
            group = together.get(room, [room])
            height[room] = max([height[room], *(height[one] + 1 for one in below if one not in group)])
        for room, group in together.items():
            height[room] = max(height[one] for one in group)
    return height


def picture(src: Path = SRC) -> Iterator[str]:
    """The lines of the picture, the highest floor first."""
    arrows = rooms(src)
    height = floors(arrows)
    count = sum(map(len, arrows.values()))
    width = max(map(len, arrows))
    yield f"{len(arrows.keys() - {ROOF})} rooms on {max(height.values()) + 1} floors, {count} arrows"
    for floor in sorted(set(height.values()), reverse=True):
        yield ""
        yield f"floor {floor}"
        for room in sorted(room for room in arrows if height[room] == floor):
            yield f"  {room:<{width}} -> {', '.join(sorted(arrows[room])) or 'nothing'}"
    yield ""
    for what, found in (("rooms", circles(arrows)), ("files", circles(files(src)))):
        yield f"circles of {what}: {'; '.join(' <-> '.join(group) for group in found) or 'none'}"


def page(src: Path = SRC) -> str:
    """What docs/architecture.md has to be, with the present picture."""
    wrapped = [textwrap.fill(line, _MOST_COLUMNS, subsequent_indent=" " * 6) for line in picture(src)]
    return _PASTED.sub("\n".join([*wrapped, ""]), PAGE.read_text(encoding="utf-8"))


def _module_of(path: Path, src: Path) -> str:
    """A file's dotted name; for an ``__init__`` that of its package."""
    parts = path.relative_to(src.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_package(module: str, src: Path) -> bool:
    return src.parent.joinpath(*module.split("."), "__init__.py").is_file()


def _is_module(module: str, src: Path) -> bool:
    return _is_package(module, src) or src.parent.joinpath(*module.split(".")).with_suffix(".py").is_file()


def _room_of(module: str, src: Path) -> str:
    if module == f"{src.name}.__main__" and _is_package(f"{src.name}._cli", src):
        return "_cli"  # Python wants the file at the top; it is the command line's.
    room = module if _is_package(module, src) else module.rpartition(".")[0]
    return room.removeprefix(src.name).removeprefix(".").replace(".", "/") or ROOF


if __name__ == "__main__":
    if sys.argv[1:] == ["--docs"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(*picture(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SRC), sep="\n")

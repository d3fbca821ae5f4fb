"""Every folder of the package is a floor: imports go down, not up and not round. And what no file may hold.

``python tools/imports.py`` draws the picture that these tests are about.
"""

from __future__ import annotations

import ast
from pathlib import Path

import imports
from imports import SRC

ROOT = SRC.parents[1]
FILES = sorted(SRC.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES = 350
MOST_LINES_OF_TESTS = 400
MOST_ROOMS = 19
MOST_FLOORS = 8


def _name(path: Path) -> str:
    """A file's dotted name below poolinfer."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def test_neither_folders_nor_files_import_each_other_in_a_circle() -> None:
    """Where there is no circle, every folder has a floor, and all it imports lies below."""
    assert imports.circles(imports.rooms()) == []
    assert imports.circles(imports.files()) == []


def test_a_newcomer_can_count_the_rooms() -> None:
    assert len(imports.rooms().keys() - {imports.ROOF}) <= MOST_ROOMS


def test_a_newcomer_can_count_the_floors() -> None:
    assert max(imports.floors(imports.rooms()).values()) < MOST_FLOORS


def test_circles_and_floors_are_found(tmp_path: Path) -> None:
    """The drawing itself: imports of every kind, circles through several files, floors above them."""
    sources = {
        "__init__.py": "from .high.one import f as f",
        "high/__init__.py": "",
        "high/one.py": "def f() -> None:\n    import house.middle.two\n    print(house.middle.two)",
        "middle/__init__.py": "value = 1",
        "middle/two.py": "from ..low import three, four",
        "low/__init__.py": "",
        "low/three.py": "from house.low.four import x\nfrom ..middle import value",
        "low/four.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import three\nx = 4",
        "ground/__init__.py": "",
        "ground/five.py": "x = 1",
        "low/six.py": "from ..ground.five import x",
    }
    house = tmp_path / "house"
    for name, source in sources.items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).write_text(source)
    rooms = imports.rooms(house)
    assert rooms == {
        "(top)": {"high"},
        "high": {"middle"},
        "middle": {"low"},
        "low": {"middle", "ground"},
        "ground": set(),
    }
    assert imports.circles(rooms) == [["low", "middle"]]
    assert imports.circles(imports.files(house)) == [["house.low.four", "house.low.three"]]
    assert imports.floors(rooms) == {"(top)": 3, "high": 2, "middle": 1, "low": 1, "ground": 0}


def test_the_docs_have_the_present_picture() -> None:
    assert imports.PAGE.read_text() == imports.page(), "run python tools/imports.py --docs"


def test_only_one_file_imports_llama_cpp() -> None:
    def imports_it(path: Path) -> bool:
        return any(name.split(".")[0] == "llama_cpp" for name in imports.imports_of(path, SRC))

    assert len([path for path in FILES if imports_it(path)]) == 1


def test_every_thread_has_a_stack_of_our_size() -> None:
    """Use `poolinfer._system.threads.OwnThread`. Not so the testing kit, which runs in the tests of others."""
    starting = [path for path in FILES if "threading.Thread(" in path.read_text()]
    assert not [path for path in starting if path.parent.name != "testing"]


def test_files_stay_small() -> None:
    long = []
    for paths, most in ((FILES, MOST_LINES), (TESTS, MOST_LINES_OF_TESTS)):
        lengths = {path: len(path.read_text().splitlines()) for path in paths}
        long += [
            f"{path.relative_to(ROOT)}: {length} lines, at most {most}"
            for path, length in lengths.items()
            if length > most
        ]
    assert not long, "\n".join(long)


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    """Beside them are tests of faults that cross folders, of the project itself, and comparisons with others."""
    own = {f"_{path.parent.relative_to(ROOT / 'tests')}" for path in TESTS if path.name.startswith("test_")}
    assert own - {"_conformance", "_faults", "_project"} <= set(imports.rooms())


def test_nothing_vanishes_or_swallows() -> None:
    """No assert (gone under ``-O``), no bare except, no wall clock."""
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if bare or isinstance(node, ast.Assert):
                found.append(f"{_name(path)}:{node.lineno}")
        if "time.time(" in path.read_text():
            found.append(_name(path))
    assert not found

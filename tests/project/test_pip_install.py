"""The first command of the README says what takes four minutes, and how far it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BUILDING = "  Running command Building wheel for llama-cpp-python (pyproject.toml)\n"


@pytest.fixture(scope="module")
def pip_install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pip_install", ROOT / "tools" / "pip_install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  [12/345] /usr/bin/c++ -o x.o\n", 3),
        ("[345/345] Linking CXX shared library\n", 100),
        ("  [  7%] Building C object ggml.c.o\n", 7),
        ("  [100%] Built target llama\n", 100),
        ("  [1/0] odd\n", None),
        ("  *** Building project with Ninja...\n", None),
        ("Collecting anyio>=4.11\n", None),
    ],
)
def test_lines_of_a_compilation_say_how_far_it_is(
    pip_install: ModuleType, line: str, expected: int | None
) -> None:
    assert pip_install.percent(line) == expected


def test_the_first_install_is_not_silent_while_llama_cpp_is_compiled(pip_install: ModuleType) -> None:
    lines = ["Collecting poolinfer\n", "[3/4] of another package\n", BUILDING]
    lines += [f"  [{n}/300] /usr/bin/c++ ..\n" for n in range(1, 301)]
    said = list(pip_install.progress(lines))
    assert "llama.cpp is being compiled" in said[0]
    assert [line.rpartition(": ")[2] for line in said[1:]] == [f"{n} %" for n in range(5, 101, 5)]


def test_an_install_that_compiles_nothing_says_nothing(pip_install: ModuleType) -> None:
    assert not list(pip_install.progress(["Collecting anyio\n", "Using cached llama_cpp_python.whl\n"]))


def test_an_install_that_fails_says_why(
    pip_install: ModuleType, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = pip_install.main(["--no-index", str(tmp_path / "missing")])
    out, err = capfd.readouterr()
    assert status != 0
    assert not out
    assert "missing" in err


def test_nox_installs_with_it() -> None:
    source = (ROOT / "noxfile.py").read_text()
    assert 'session.run_install("python", "tools/pip_install.py", "-e", ".",' in source

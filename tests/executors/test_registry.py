"""Names of executors: ours stay ours, others register theirs or offer them as entry points."""

from __future__ import annotations

from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from poolinfer import InvalidRequest
from poolinfer._executors import registry
from poolinfer._pool.pool_options import choose_executor
from poolinfer.executor import Process, Thread, register


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have entry points be offered, as (name, value); counts how often they are looked up."""
    looked = []

    def offered(*points: tuple[str, str]) -> list[str]:
        def entry_points(*, group: str) -> list[EntryPoint]:
            looked.append(group)
            return [EntryPoint(name, value, group) for name, value in points]

        monkeypatch.setattr(metadata, "entry_points", entry_points)
        return looked

    return offered


def test_our_names() -> None:
    assert registry.find("thread") is Thread
    assert registry.find("process") is Process


@pytest.mark.parametrize("name", ["thread", "process", "prefork"])
def test_our_names_cannot_be_taken(name: str, offer: Any) -> None:
    looked = offer((name, "os:getcwd"))
    with pytest.raises(InvalidRequest, match=f"^name is '{name}': take another one") as caught:
        register(name, Thread)
    assert caught.value.field == "name"
    assert registry.find(name).__module__.startswith("poolinfer")
    assert not looked


@pytest.mark.parametrize("name", ["", "2fast", "two words", "a/b", "é", "x" * 65, None, 7])
def test_names_are_simple(name: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^name is .*: use letters, digits"):
        register(name, Thread)


def test_what_is_registered_can_be_called() -> None:
    with pytest.raises(InvalidRequest, match=r"^factory is .*: give the class of a Description"):
        register("mine", Thread())  # type: ignore[arg-type]


def test_the_last_one_registered_counts(offer: Any) -> None:
    looked = offer(("mine", "os:getcwd"))
    register("mine", Thread)
    register("mine", Process)
    assert registry.find("mine") is Process
    assert not looked


def test_an_entry_point_is_found_when_the_name_is_unknown(offer: Any) -> None:
    looked = offer(("other", "os:nothing"), ("mine", "poolinfer.executor:Process"))
    assert registry.find("mine") is Process
    assert looked == ["poolinfer.executors"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "no_such_package:Mine",
            r"cannot be loaded: ModuleNotFoundError\(.*; repair or uninstall that package",
        ),
        ("os:no_such_name", r"cannot be loaded: AttributeError\("),
        ("not a reference", r"cannot be loaded: "),
        ("os:sep", "is of type str, and must be the class of a Description"),
    ],
)
def test_a_broken_entry_point_says_which(offer: Any, value: str, words: str) -> None:
    offer(("mine", value))
    with pytest.raises(InvalidRequest, match=words) as caught:
        registry.find("mine")
    assert caught.value.field == "executor"
    assert f"'mine' of a package ({value})" in str(caught.value)


def test_two_packages_with_one_name_are_told_apart(offer: Any) -> None:
    offer(("mine", "os:getcwd"), ("mine", "os:getpid"))
    with pytest.raises(
        InvalidRequest, match="'mine' is offered by a package and a package; uninstall all but one"
    ):
        registry.find("mine")


def test_an_unknown_name_says_what_there_is(offer: Any) -> None:
    offer(("zmq", "os:nothing"), ("thread", "os:nothing"))
    register("ray", Process)
    words = "'tread' is not known; use 'thread', 'process', 'prefork', 'ray', 'zmq', a description such as"
    with pytest.raises(InvalidRequest, match=words):
        registry.find("tread")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a package that is installed, and can be damaged."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = tmp_path / "damaged-1.0.dist-info"
    made.mkdir()
    made.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n")
    return made


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"[console_scripts]\nfoo\n", "(Type|Value|Attribute)Error"),
        (b"[poolinfer.executors]\nm\xff = os:getcwd\n", "UnicodeDecodeError"),
    ],
)
def test_damaged_entry_points_of_any_package_are_no_riddle(
    installed: Path, damage: bytes, reason: str
) -> None:
    installed.joinpath("entry_points.txt").write_bytes(damage)
    register("mine", Thread)
    words = f"^executor: 'tread' is none of 'thread', 'process', 'prefork', 'mine', and .* cannot be read: {reason}"
    with pytest.raises(InvalidRequest, match=words) as caught:
        registry.find("tread")
    assert caught.value.field == "executor"
    assert caught.value.__cause__ is not None
    assert registry.find("mine") is Thread
    with pytest.raises(
        InvalidRequest, match=r"^executor is 7: use 'thread', 'process', 'prefork', 'mine', a description"
    ):
        choose_executor(7, {})


@pytest.mark.parametrize("error", ["SystemExit(3)", "RuntimeError('no')", "BaseException('odd')"])
def test_a_module_that_raises_on_import_does_not_end_the_host(installed: Path, error: str) -> None:
    name = "raises_" + error.partition("(")[0].lower()
    installed.parent.joinpath(f"{name}.py").write_text(f"raise {error}\n")
    installed.joinpath("entry_points.txt").write_text(f"[poolinfer.executors]\nmine = {name}:Mine\n")
    words = rf"'mine' of the package damaged \({name}:Mine\) cannot be loaded: {error.partition('(')[0]}\("
    with pytest.raises(InvalidRequest, match=words):
        registry.find("mine")


def test_ctrl_c_while_a_module_is_imported_is_the_host_s(installed: Path) -> None:
    installed.parent.joinpath("raises_ctrl_c.py").write_text("raise KeyboardInterrupt\n")
    installed.joinpath("entry_points.txt").write_text("[poolinfer.executors]\nmine = raises_ctrl_c:Mine\n")
    with pytest.raises(KeyboardInterrupt):
        registry.find("mine")


@pytest.mark.parametrize("text", [None, b"Name: \xff\n"])
def test_a_package_without_a_name_is_found_by_its_folder(installed: Path, text: bytes | None) -> None:
    installed.joinpath("METADATA").unlink()
    if text is not None:
        installed.joinpath("METADATA").write_bytes(text)
    installed.joinpath("entry_points.txt").write_text("[poolinfer.executors]\nmine = os:sep\n")
    with pytest.raises(InvalidRequest, match=r"'mine' of a package in .* that has no name") as caught:
        registry.find("mine")
    assert f"in {installed.parent} that" in str(caught.value)

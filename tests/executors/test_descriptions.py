"""Descriptions of executors: frozen data, whose options are checked where they are written."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import pytest

from poolinfer import InvalidRequest, UnknownOption
from poolinfer._executors.descriptions import WorkerProcesses
from poolinfer.executor import Description, Prefork, Process, Thread

ALL: tuple[Any, ...] = (Thread, Process, Prefork)


@pytest.mark.parametrize("cls", ALL)
def test_a_description_is_frozen_data(cls: Any) -> None:
    one = cls(workers=2)
    assert one == cls(workers=2) != cls(workers=3)
    assert hash(one) == hash(cls(workers=2))
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == copy.copy(one) == one
    assert replace(one, workers=5).workers == 5
    assert repr(one).startswith(f"{cls.__name__}(workers=2")
    with pytest.raises(FrozenInstanceError):
        one.workers = 3
    with pytest.raises(TypeError):
        cls(2)
    assert not hasattr(one, "__dict__")


def test_numbers_of_numpy_become_python_s() -> None:
    numpy = pytest.importorskip("numpy")
    for one in (Thread(workers=numpy.int64(3)), replace(Process(), workers=numpy.int32(3))):
        assert type(one.workers) is int


def test_two_kinds_of_processes_are_not_equal() -> None:
    assert Process() != Prefork()
    assert (Process().share, Prefork().share) == ("mmap", "repack")
    assert [one.name for one in (Thread(), Process(), Prefork())] == ["thread", "process", "prefork"]


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({}, 1, 1),
        ({"workers": 3}, 3, 3),
        ({"min_workers": 2}, 2, 2),
        ({"max_workers": 4}, 1, 4),
        ({"min_workers": 2, "max_workers": 4}, 2, 4),
    ],
)
def test_how_many_workers(options: dict[str, int], least: int, most: int) -> None:
    for cls in (Process, Prefork):
        assert (cls(**options).least, cls(**options).most) == (least, most)


@pytest.mark.parametrize("cls", [Process, Prefork])
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": 2.0}, "workers"),
        ({"workers": True}, "workers"),
        ({"workers": 2, "max_workers": 3}, "workers"),
        ({"min_workers": 3, "max_workers": 2}, "min_workers"),
        ({"max_workers": 257}, "max_workers"),
        ({"max_workers": 2, "idle_timeout": -1}, "idle_timeout"),
        ({"idle_timeout": 3}, "idle_timeout"),
        ({"share": "copy"}, "share"),
        ({"share": ["mmap"]}, "share"),
        ({"retries": 2}, "retries"),
        ({"retries": None}, "retries"),
        ({"max_calls": 0}, "max_calls"),
        ({"max_rss": 1}, "max_rss"),
        ({"max_age": float("nan")}, "max_age"),
    ],
)
def test_bad_options_are_refused_by_name(cls: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}") as caught:
        cls(**options)
    assert caught.value.field == field


@pytest.mark.parametrize("workers", [0, 257, None, "2", 1.5])
def test_threads_need_a_number_of_lanes(workers: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^workers is ") as caught:
        Thread(workers=workers)
    assert caught.value.field == "workers"


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(UnknownOption, match=r"Thread has no option 'share': share is an option of .*Process"):
        Thread(share="mmap")  # type: ignore[call-arg]
    with pytest.raises(UnknownOption, match="Process has no option 'n_workers': use workers"):
        Process(n_workers=2)  # type: ignore[call-arg]


def test_processes_and_preforked_ones_have_the_same_options() -> None:
    names = [field.name for field in fields(WorkerProcesses)]
    assert [field.name for field in fields(Process)] == [field.name for field in fields(Prefork)] == names


@pytest.mark.parametrize("base", [Process, Prefork, WorkerProcesses])
def test_a_class_derived_from_ours_has_fields_of_its_own(base: Any) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Zmq(base):  # type: ignore[misc]
        url: str
        timeout: str = "never"  # LIMITS has a row of that name, for another thing

    one = Zmq(url="tcp://here", workers=2, timeout="soon")
    assert (one.url, one.timeout, one.most, one.name) == ("tcp://here", "soon", 2, "zmq")
    with pytest.raises(InvalidRequest, match=r"^workers is 0: "):
        Zmq(url="tcp://here", workers=0)


def test_a_description_without_make_is_none() -> None:
    class Idle(Description):
        pass

    with pytest.raises(TypeError, match="make"):
        Idle()  # type: ignore[abstract]

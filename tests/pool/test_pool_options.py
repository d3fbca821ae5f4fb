"""Where a pool's lanes run: names, descriptions and executor objects, and which options go with which."""

from __future__ import annotations

import inspect
import logging
import re
from dataclasses import dataclass
from typing import Any

import pytest

from poolinfer import InvalidRequest, Model, ModelError, Pool, demo_model
from poolinfer._executors import registry
from poolinfer._executors.sizing import Sizing
from poolinfer._executors.thread import ThreadExecutor
from poolinfer.executor import (
    Description,
    Executor,
    LaneSpec,
    ModelSpec,
    Prefork,
    Process,
    Thread,
    register,
)
from poolinfer.testing import FakeExecutor

PERU = "What is the capital of Peru?", "The capital of Peru is Lima."


@dataclass(frozen=True, kw_only=True)
class Fake(Description):
    """Describes an executor that needs no model."""

    answer: str
    workers: int = 1

    @property
    def most(self) -> int:
        return self.workers

    def check(self, model: ModelSpec | None) -> None:
        pass

    def make(self, model: ModelSpec | None, lane: LaneSpec) -> Executor:
        said = f"{self.answer} {model and model.path.rpartition('/')[2]} {lane.slots} {lane.n_ctx}"
        return FakeExecutor(lambda _: said, slots=lane.slots * self.workers)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"min_workers": 1}, "min_workers"),
        ({"max_workers": 2}, "max_workers"),
        ({"idle_timeout": 3}, "idle_timeout"),
        ({"share": "mmap"}, "share"),
        ({"retries": 1}, "retries"),
        ({"max_calls": 5}, "max_calls"),
        ({"max_rss": 2**30}, "max_rss"),
        ({"max_age": 60}, "max_age"),
    ],
)
def test_threads_refuse_what_only_processes_have(options: dict[str, Any], field: str) -> None:
    remedy = "leave it out, executor='thread' has no such option"
    if field in ("min_workers", "max_workers"):
        remedy = "give workers, executor='thread' has a fixed number of lanes"
    with pytest.raises(
        InvalidRequest, match=f"^{field} is .*: {remedy}; or use 'process' or 'prefork'$"
    ) as caught:
        Pool(demo_model(), **options)
    assert caught.value.field == field


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"min_workers": 2}])
def test_a_fixed_number_of_workers_has_no_idle_timeout(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"^idle_timeout is 3.*: leave it out, ") as caught:
        Pool(demo_model(), executor="process", idle_timeout=3, **options)
    assert caught.value.field == "idle_timeout"


def test_options_of_processes_are_taken_by_processes() -> None:
    options: dict[str, Any] = {"retries": 0, "max_calls": 5, "max_rss": 2**30, "max_age": 60, "share": "mmap"}
    Pool(demo_model(), executor="process", max_workers=2, idle_timeout=3, **options).close()
    Pool(demo_model(), executor=Process(max_workers=2, idle_timeout=3, **options)).close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flash_attention": "auto"}, "flash_attention is 'auto': use True or False, or None for"),
        ({"executor": None}, "executor is None: use 'thread', 'process', 'prefork', a description such as"),
        (
            {"executor": "threads"},
            "'threads' is not known; use 'thread', 'process', 'prefork', a description",
        ),
        ({"executor": Process}, r"^executor is a class: give an object, Process\(\.\.\.\)$"),
        ({"executor": FakeExecutor}, r"^executor is a class: give an object, FakeExecutor\(\.\.\.\)$"),
        ({"executor": "x" * 10_000}, "executor: 'xxxxxxxx[x]{1,60}'?\\.\\.\\. is not known"),
    ],
)
def test_refused_options_of_a_pool_say_what_there_is(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Pool(demo_model(), **options)


def test_options_beside_a_description_are_sent_to_it() -> None:
    words = r"^workers is 2: give it to the description, as Process\(workers=2\)$"
    with pytest.raises(InvalidRequest, match=words) as caught:
        Pool(demo_model(), executor=Process(), workers=2)
    assert caught.value.field == "workers"
    with pytest.raises(InvalidRequest, match=r"^share is 'mmap': leave it out, Thread has no such option$"):
        Pool(demo_model(), executor=Thread(workers=2), share="mmap")


def test_a_description_does_what_its_name_does(tiny: Model) -> None:
    for executor in ("thread", Thread()):
        with Pool(tiny, executor=executor, slots=2) as pool:
            assert pool.chat(PERU[0], temperature=0).text == PERU[1]
            assert pool.stats().slots == 2
    with Pool(tiny, executor=Process(workers=2), slots=1) as pool:
        assert pool.chat(PERU[0], temperature=0).text == PERU[1]
        assert pool.stats().slots == 2


def test_a_description_makes_its_executor_with_its_options(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "poolinfer._executors.process.ProcessExecutor", lambda *_, **options: made.append(options)
    )
    lane = LaneSpec()
    Process(max_workers=3, max_age=60.0, share="repack", retries=0).make(tiny.spec, lane)
    Prefork(workers=2, max_calls=5, max_rss=2**30).make(tiny.spec, lane)
    assert made == [
        {
            "sizing": Sizing(least=1, most=3, idle_timeout=60.0, max_age=60.0),
            "prefork": False,
            "share": "repack",
            "retries": 0,
        },
        {
            "sizing": Sizing(least=2, most=2, idle_timeout=60.0, max_calls=5, max_rss=2**30),
            "prefork": True,
            "share": "repack",
            "retries": 1,
        },
    ]
    assert isinstance(Thread(workers=3).make(tiny.spec, lane), ThreadExecutor)


def test_a_registered_name_gets_the_options_that_it_has(tiny: Model) -> None:
    register("fake", lambda workers=1: Fake(answer="named", workers=workers))
    with Pool(tiny, executor="fake", workers=2, slots=3) as pool:
        assert pool.stats().slots == 6
        assert pool.chat("x").text == "named tiny.gguf 3 1024"
        assert repr(pool).startswith("<Pool ")
    with pytest.raises(
        InvalidRequest, match=r"^retries is 1: leave it out, executor='fake' has no such option"
    ):
        Pool(tiny, executor="fake", retries=1)


def test_a_name_that_needs_more_says_so() -> None:
    register("fake", Fake)
    with pytest.raises(
        InvalidRequest, match=r"^executor: 'fake' is not enough .*answer.*; give the description"
    ):
        Pool(executor="fake")


def test_a_name_that_makes_something_else_says_so() -> None:
    register("fake", FakeExecutor)  # type: ignore[arg-type]
    with pytest.raises(
        InvalidRequest, match=r"^executor: 'fake' stands for an object of type FakeExecutor; "
    ):
        Pool(demo_model(), executor="fake")


def test_a_name_for_something_without_a_signature_says_so() -> None:
    register("fake", dict)
    with pytest.raises(
        InvalidRequest, match=r"^executor: what 'fake' stands for cannot be asked for its options"
    ):
        Pool(demo_model(), executor="fake")


@pytest.mark.parametrize(
    ("least", "most"), [(0, 0), (2, 1), (-1, 1), (1, "2"), (1.0, 1), (1, True), (None, 1)]
)
def test_a_description_has_some_lanes(least: Any, most: Any) -> None:
    class Odd(Fake):
        @property
        def least(self) -> int:
            return least  # type: ignore[no-any-return]

        @property
        def most(self) -> int:
            return most  # type: ignore[no-any-return]

    with pytest.raises(
        InvalidRequest, match=r"^executor: odd has from .* to .* lanes; its least and most must be"
    ):
        Pool(executor=Odd(answer=""))


@pytest.mark.parametrize("field", ["name", "note"])
@pytest.mark.parametrize("text", [7, None, b"zmq", "two\nlines", "a\x1b[31m", "nul\0"])
def test_what_the_log_says_of_a_description_is_a_line(field: str, text: Any) -> None:
    Odd = type("Odd", (Fake,), {field: property(lambda _: text)})
    words = rf"^executor: the {field} of Odd is .*; it must be a str of one line, without control characters$"
    with pytest.raises(InvalidRequest, match=words) as caught:
        Pool(executor=Odd(answer=""))
    assert caught.value.field == "executor"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("no network"), TypeError("odd"), ValueError()])
def test_a_factory_that_raises_is_a_refusal_with_its_reason(error: Exception) -> None:
    def factory() -> Description:
        raise error

    register("mine", factory)
    words = rf"^executor: what 'mine' stands for raised {re.escape(repr(error))}; repair it, or give the"
    with pytest.raises(InvalidRequest, match=words) as caught:
        Pool(executor="mine")
    assert caught.value.field == "executor"
    assert caught.value.__cause__ is error


def test_a_refusal_of_a_factory_is_raised_as_it_is() -> None:
    error = ModelError("there is no GPU")

    def factory() -> Description:
        raise error

    register("mine", factory)
    with pytest.raises(ModelError) as caught:
        Pool(executor="mine")
    assert caught.value is error


def test_a_description_without_make_is_named_when_a_pool_is_made() -> None:
    class Idle(Description):
        pass

    register("idle", Idle)
    words = r"^executor: 'idle' stands for a class that does not define make; a description needs it$"
    with pytest.raises(InvalidRequest, match=words) as caught:
        Pool(executor="idle")
    assert caught.value.field == "executor"


def test_an_option_that_one_executor_has_is_none_of_the_pool() -> None:
    """A new one is a field of a description. These are here for names, as they have always been."""
    old = {"workers", "min_workers", "max_workers", "idle_timeout", "share"}
    old |= {"retries", "max_calls", "max_rss", "max_age"}
    lanes = {
        "slots",
        "threads",
        "n_ctx",
        "n_batch",
        "kv_memory",
        "flash_attention",
        "latency_target",
        "prefix_cache",
        "type_k",
        "type_v",
    }
    assert set(inspect.signature(Pool).parameters) == {"model", "executor", "max_queue"} | lanes | old


def test_a_description_may_do_without_a_model(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "poolinfer"), Pool(executor=Fake(answer="alone"), slots=5) as pool:
        assert pool.chat("x").text == "alone None 5 2048"
        assert repr(pool).startswith("<Pool fake running")
    assert "no model, fake, 1 x 5 slots" in caplog.text
    with pytest.raises(
        InvalidRequest, match=r"^kv_memory is 65536: leave it out, or give the pool the model"
    ):
        Pool(executor=Fake(answer="alone"), kv_memory=2**16)
    for executor in (Thread(), Process(), Prefork(), "thread"):
        with pytest.raises(InvalidRequest, match=r"^model: give a Model or the path") as caught:
            Pool(executor=executor)
        assert caught.value.field == "model"


def test_the_log_says_where_lanes_run(tiny: Model, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "poolinfer"),
        Pool(tiny, executor=Thread(workers=2), slots=1, threads=1),
    ):
        pass
    assert "thread, 2 x 1 slots, 1 thread per lane, n_ctx 1024, weights repacked" in caplog.text

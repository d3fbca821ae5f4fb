"""What is logged: two lines for each pool, one for each call at DEBUG, and llama.cpp's lines if asked for."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from poolinfer import CallCancelled, Chat, DeadlineExceeded, Model, Pool, Raw
from poolinfer._engine.llama import library
from poolinfer._engine.llama.llama_log import LineJoiner
from poolinfer._pool import dispatcher
from poolinfer._system.logs import Forwarder, log_again
from poolinfer._wire.codec import WireError
from poolinfer._wire.frames import FrameReader, Logged, frame, read_from_worker
from poolinfer.testing import FakeExecutor, wait_until

STARTED = re.compile(r"the pool has started in \d+\.\d\d s: (.+)")
CLOSED = re.compile(r"the pool has closed after (\d+) calls \((.+)\): (.+)")
ENDED = re.compile(
    r"call (?P<id>\d+) has ended: kind=(?P<kind>\w+) outcome=(?P<outcome>\w+) prompt=(?P<prompt>[\d-]+)"
    r" cached=(?P<cached>[\d-]+) completion=(?P<completion>[\d-]+) queued=(?P<queued>\d+\.\d{3})"
    r" first=(?P<first>[\d.-]+) total=(?P<total>\d+\.\d{3})"
)
DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged under ``logging.basicConfig(level=logging.DEBUG)``."""
    caplog.set_level(DEBUG)
    return caplog


def lines(caplog: pytest.LogCaptureFixture, level: int, name: str = "poolinfer") -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == name and one.levelno == level]


def ended(caplog: pytest.LogCaptureFixture, n: int) -> list[dict[str, str]]:
    """The lines about `n` calls; the line of a call may come a moment after its waiter was woken."""
    wait_until(lambda: len(lines(caplog, DEBUG)) >= n)
    found = [ENDED.fullmatch(line) for line in lines(caplog, DEBUG)]
    assert all(found), lines(caplog, DEBUG)
    return [one.groupdict() for one in found if one]


def test_a_pool_says_once_that_it_has_started_and_once_that_it_has_closed(
    tiny: Model, log: pytest.LogCaptureFixture
) -> None:
    with Pool(tiny, workers=2, slots=3, threads=1, n_ctx=256) as pool:
        pool.raw("a", max_tokens=1)
    started, closed = lines(log, INFO)
    title = "model poolinfer tiny, thread, 2 x 3 slots, 1 thread per lane, n_ctx 256, weights repacked"
    found = STARTED.fullmatch(started)
    assert found is not None
    assert found[1] == title
    assert CLOSED.fullmatch(closed), closed
    assert closed.endswith(title)
    assert "after 1 calls (1 succeeded, 0 failed, 0 cancelled, 0 expired; 0 refused)" in closed


def test_a_pool_that_never_started_says_nothing(tiny: Model, log: pytest.LogCaptureFixture) -> None:
    Pool(tiny).close()
    assert not lines(log, INFO)


def test_every_ended_call_is_one_line_without_a_word_of_its_texts(
    tiny: Model, log: pytest.LogCaptureFixture
) -> None:
    with Pool(tiny, slots=4, threads=1) as pool:
        reply = pool.chat("What is the capital of Peru?", temperature=0)
        texts = pool.embed(["zebra", "walrus"])
        with pytest.raises(DeadlineExceeded):
            pool.raw("zebra", timeout=0)
    chat, embed, late = ended(log, 3)
    assert (chat["kind"], chat["outcome"]) == ("chat", reply.finish_reason)
    usage = [reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens]
    assert [int(chat[name]) for name in ("prompt", "cached", "completion")] == usage
    assert float(chat["queued"]) <= float(chat["first"]) <= float(chat["total"])
    assert (embed["kind"], embed["outcome"]) == ("embed", "embedded")
    assert int(embed["prompt"]) == sum(one.prompt_tokens for one in texts)
    assert (late["kind"], late["outcome"], late["prompt"]) == ("raw", "DeadlineExceeded", "-")
    for word in ("Peru", "Lima", "capital", "zebra", "walrus"):
        assert word not in log.text


def test_a_call_that_is_cancelled_is_one_line(log: pytest.LogCaptureFixture) -> None:
    executor = FakeExecutor()
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        call.cancel()
        with pytest.raises(CallCancelled):
            call.result()
        (line,) = ended(log, 1)
    assert (line["kind"], line["outcome"], line["first"]) == ("raw", "CallCancelled", "-")


def test_without_debug_no_line_of_a_call_is_made(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(dispatcher, "log_ended", lambda *found: made.append(found))
    caplog.set_level(INFO)
    with Pool(executor=FakeExecutor(lambda request: "yes")) as pool:
        pool.chat("Hello")
        assert not made
        caplog.set_level(DEBUG)
        pool.chat("Hello")
        wait_until(lambda: len(made) == 1)


def test_a_filter_that_raises_ends_no_call_and_no_pool(log: pytest.LogCaptureFixture) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("a filter of the host")

    logger = logging.getLogger("poolinfer")
    logger.addFilter(refuse)
    try:
        with Pool(executor=FakeExecutor(lambda request: "yes")) as pool:
            replies = [pool.chat("Hello", timeout=30).text for _ in range(3)]
        assert replies == ["yes"] * 3
        assert pool.stats().state == "closed"
    finally:
        logger.removeFilter(refuse)


def test_a_handler_that_raises_ends_none_of_a_pools_threads(log: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a handler of the host")

    def fail() -> None:
        raise ValueError("a callback of the host")

    logger, handler = logging.getLogger("poolinfer"), Broken()
    logger.addHandler(handler)
    try:
        with Pool(executor=FakeExecutor(lambda request: "yes")) as pool:
            later = threading.Event()
            pool.submit(Chat("Hello")).add_done_callback(lambda _: fail())
            pool.submit(Chat("Hello")).add_done_callback(lambda _: later.set())
            assert later.wait(30)
    finally:
        logger.removeHandler(handler)


def test_llama_cpp_is_silent_until_its_logger_has_a_level(tiny: Model, log: pytest.LogCaptureFixture) -> None:
    logging.getLogger("poolinfer").setLevel(DEBUG)
    try:
        with Pool(tiny, slots=1, threads=1) as pool:
            pool.raw("a", max_tokens=1)
    finally:
        logging.getLogger("poolinfer").setLevel(logging.NOTSET)
    assert not [record for record in log.records if record.name == "poolinfer.llama"]
    log.set_level(INFO, logger="poolinfer.llama")
    with Pool(tiny, slots=1, threads=1) as pool:
        pool.raw("a", max_tokens=1)
    assert any("compute buffer size" in line for line in lines(log, INFO, "poolinfer.llama"))
    assert not lines(log, DEBUG, "poolinfer.llama")


def test_lines_of_llama_cpp_that_nobody_wants_call_no_python(run_script: Any) -> None:
    done = run_script(
        """
        import logging
        import poolinfer
        from poolinfer._engine.llama.llama_log import LlamaLog

        taken = []
        LlamaLog._take = lambda self, level, text, _: taken.append(text)
        logging.getLogger().setLevel(logging.DEBUG)
        for level in (logging.NOTSET, logging.ERROR):
            logging.getLogger("poolinfer.llama").setLevel(level)
            with poolinfer.Pool(poolinfer.demo_model(), slots=1, threads=1) as pool:
                pool.raw("a", max_tokens=1)
            print(len(taken) > 100)
        """
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(2, "one\n"), (3, "two\n")], [(INFO, "one"), (WARNING, "two")]),
        ([(1, "a"), (5, "b"), (5, "c\n")], [(DEBUG, "abc")]),
        ([(4, "half"), (2, "other\n")], [(ERROR, "half"), (INFO, "other")]),
        ([(3, "one\ntwo\nth"), (5, "ree\n")], [(WARNING, "one"), (WARNING, "two"), (WARNING, "three")]),
        ([(4, "bad\n"), (5, "worse\n")], [(ERROR, "bad"), (ERROR, "worse")]),
        ([(0, "said\n"), (77, "unknown\n"), (2, "\n")], [(INFO, "said"), (INFO, "unknown")]),
        ([(5, "."), (5, "." * 8191), (5, ".")], [(INFO, "." * 8193)]),
    ],
)
def test_lines_are_put_together_of_their_parts(
    parts: list[tuple[int, str]], expected: list[tuple[int, str]]
) -> None:
    whole = LineJoiner()
    assert [line for part in parts for line in whole.take(*part)] == expected


def test_parts_of_two_threads_are_kept_apart() -> None:
    whole, found = LineJoiner(), []
    assert not whole.take(3, "mine, ")
    other = threading.Thread(target=lambda: found.extend(whole.take(4, "theirs\n")))
    other.start()
    other.join()
    assert found == [(ERROR, "theirs")]
    assert whole.take(5, "again mine\n") == [(WARNING, "mine, again mine")]


def test_a_line_of_llama_cpp_cannot_forge_another(tiny: Model, log: pytest.LogCaptureFixture) -> None:
    """A line of llama.cpp may quote the model file, which is not trusted."""
    log.set_level(INFO, logger="poolinfer.llama")
    library._library.bindings._log._take(2, b"name = \x1b[2J\r\tevil" + b"x" * 5000 + b"\n", None)
    (line,) = lines(log, INFO, "poolinfer.llama")
    assert line.startswith("name = ?[2J? evilxxx")
    assert line.endswith("x ...")
    assert len(line) < 2100


@pytest.mark.parametrize("executor", ["process", "prefork"])
def test_lines_of_worker_processes_come_to_the_host_with_their_levels(
    tiny: Model, log: pytest.LogCaptureFixture, executor: Any
) -> None:
    log.set_level(DEBUG, logger="poolinfer.llama")
    with Pool(tiny, executor=executor, slots=1, threads=1) as pool:
        pool.raw("a", max_tokens=1)
    found = {level: lines(log, level, "poolinfer.llama") for level in (DEBUG, INFO)}
    assert all(re.match(r"(worker|zygote) \d+: \S", line) for line in found[DEBUG] + found[INFO])
    assert any("general.architecture" in line for line in found[INFO])
    assert any(line.startswith("worker ") and "compute buffer size" in line for line in found[INFO])
    assert any("graph_reserve" in line for line in found[DEBUG])


def test_workers_send_no_lines_of_llama_cpp_that_nobody_wants(
    tiny: Model, log: pytest.LogCaptureFixture
) -> None:
    with Pool(tiny, executor="process", slots=1, threads=1) as pool:
        pool.raw("a", max_tokens=1)
    assert {record.name for record in log.records} == {"poolinfer"}


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    """The forwarder of a worker whose host wants warnings of pools, and all lines of llama.cpp."""
    logger = logging.getLogger("poolinfer")
    found = Forwarder((WARNING, DEBUG), lambda: None)
    logger.addHandler(found)
    yield found
    logger.removeHandler(found)


def test_a_worker_keeps_what_its_host_wants(forwarder: Forwarder, log: pytest.LogCaptureFixture) -> None:
    log.set_level(DEBUG, logger="poolinfer.llama")
    logging.getLogger("poolinfer").info("not this")
    logging.getLogger("poolinfer").warning("%s\nlines", "two")
    logging.getLogger("poolinfer.llama").debug("loading \x1b[31m")
    logging.getLogger("another").error("nor this")
    lines_of_it, lost = forwarder.take()
    assert lines_of_it == (
        ("poolinfer", WARNING, "two"),
        ("poolinfer", WARNING, "lines"),
        ("poolinfer.llama", DEBUG, "loading ?[31m"),
    )
    assert (lost, forwarder.take()) == (0, ((), 0))


def test_a_worker_whose_log_is_not_read_keeps_the_last_lines_and_counts_the_others(
    forwarder: Forwarder, log: pytest.LogCaptureFixture
) -> None:
    for n in range(1500):
        logging.getLogger("poolinfer").warning("line %d", n)
    kept, lost = forwarder.take()
    assert (len(kept), kept[0][2], kept[-1][2], lost) == (1000, "line 500", "line 1499", 500)


def test_what_a_worker_logged_survives_the_way_to_its_host() -> None:
    said = Logged((("poolinfer", WARNING, "é \udc80"), ("poolinfer.llama", INFO, "")), 3)
    (data,) = FrameReader().feed(frame(said))
    assert read_from_worker(data) == said


@pytest.mark.parametrize("lines", [("a",), (("poolinfer", "30", "text"),), (("poolinfer", 30, b"x"),)])
def test_a_worker_that_sends_no_lines_as_lines_is_refused(lines: Any) -> None:
    (data,) = FrameReader().feed(frame(Logged(lines)))
    with pytest.raises(WireError):
        read_from_worker(data)


def test_a_worker_can_log_only_where_poolinfer_logs(log: pytest.LogCaptureFixture) -> None:
    """A worker is not trusted to name a logger."""
    log.set_level(INFO, logger="poolinfer.llama")
    forged = [("root", ERROR, "1"), ("django", ERROR, "2"), ("poolinfer", 31, "3"), ("poolinfer", True, "4")]
    log_again(
        [*forged, ("poolinfer", ERROR, "%s\n\x1b[2J"), ("poolinfer.llama", INFO, "real")], 7, "worker 1"
    )
    assert [(one.name, one.levelno, one.getMessage()) for one in log.records] == [
        ("poolinfer", ERROR, "worker 1: %s??[2J"),
        ("poolinfer.llama", INFO, "worker 1: real"),
        ("poolinfer", WARNING, "worker 1: 7 lines of its log were lost"),
    ]


def test_no_resource_warning_at_the_end(run_script: Any) -> None:
    """llama-cpp-python opens two files when it is imported, and does not close them."""
    done = run_script(
        """
        import poolinfer

        with poolinfer.Model.load(poolinfer.demo_model()) as model:
            model.raw("a", max_tokens=1)
        """,
        flags=("-X", "dev", "-W", "error"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_host_can_use_llama_cpp_after_its_files_were_closed(run_script: Any) -> None:
    done = run_script(
        """
        import poolinfer

        with poolinfer.Model.load(poolinfer.demo_model()) as model:
            model.raw("a", max_tokens=1)
        import os
        from llama_cpp._utils import suppress_stdout_stderr

        with suppress_stdout_stderr(disable=False):
            print("lost")
            os.write(2, b"lost")
        print("kept")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "kept\n", "")


def test_files_of_a_host_that_imported_llama_cpp_itself_are_its_own(run_script: Any) -> None:
    done = run_script(
        """
        from llama_cpp import _utils

        before = _utils.outnull_file, _utils.errnull_file
        import poolinfer

        with poolinfer.Model.load(poolinfer.demo_model()) as model:
            model.raw("a", max_tokens=1)
        print(before == (_utils.outnull_file, _utils.errnull_file), any(file.closed for file in before))
        """
    )
    assert done.stdout.split() == ["True", "False"], done.stderr

"""A signal handler cancels, submits and looks, in the middle of anything (F-34)."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from settled import settled

from poolinfer import CallCancelled, Pool, Raw
from poolinfer._data.events import Job
from poolinfer._data.results import Chunk
from poolinfer._pool.answer_buffers import TextBuffer
from poolinfer._pool.ticket import ReadPosition, Ticket
from poolinfer.testing import FakeExecutor, wait_until


def test_f34_cancel_at_any_time_is_no_error():
    executor = FakeExecutor(manual=True, slots=1)
    with Pool(executor=executor) as pool:
        running, waiting, ended = (pool.submit(Raw("a")) for _ in range(3))
        wait_until(lambda: executor.taken)
        waiting.cancel()
        waiting.cancel()
        for _ in range(2):
            thread = threading.Thread(target=running.cancel)
            thread.start()
            thread.join()
        wait_until(lambda: waiting.done() and executor.cancelled)
        executor.step()
        wait_until(lambda: len(executor.taken) == 2)
        executor.say(executor.taken[-1], "ended")
        executor.finish(executor.taken[-1])
        ended.cancel()
        assert ended.result().text == "ended"
        settled(pool)
    assert executor.taken == [1, 3]


def test_f34_cancel_from_a_signal_handler():
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        call = pool.submit(Raw("a"))
        before = signal.signal(signal.SIGUSR1, lambda *_: call.cancel())
        try:

            def send():
                wait_until(lambda: call._ticket._waiters)
                os.kill(os.getpid(), signal.SIGUSR1)

            threading.Thread(target=send).start()
            with pytest.raises(CallCancelled):
                call.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
        wait_until(lambda: executor.cancelled == executor.taken)
        executor.step()
        settled(pool)


def test_f34_cancel_from_a_signal_handler_at_every_line(run_script):
    """A handler may strike while the main thread holds one of our locks: it must not wait for itself."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeExecutor

        faulthandler.dump_traceback_later(20, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        victim.cancel()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            with Pool(executor=FakeExecutor(manual=True)) as pool:
                victim = pool.submit(Raw("victim"))
                sys.settrace(enter)
                other = pool.submit(Raw("other"))
                other.done()
                pool.stats()
                other.cancel()
                sys.settrace(None)
                pool.close(0)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 20, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


def test_f34_looking_at_a_call_and_its_pool_from_a_signal_handler_at_every_line(run_script):
    """The thread below the handler looks at them as well, under locks; what it reads is whole all the same."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, Raw
        from poolinfer.testing import FakeExecutor, wait_until

        faulthandler.dump_traceback_later(40, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        look()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            def look():
                assert call.partial in ("ab", "abc")
                call.add_done_callback(heard.append)
                assert pool.stats().busy == 1
                repr(pool)
            heard = []
            executor = FakeExecutor(manual=True)
            pool = Pool(executor=executor)
            call = pool.submit(Raw("a"))
            wait_until(lambda: executor.taken)
            number = call._ticket.job.id
            executor.say(number, "a")
            executor.say(number, "b")
            pieces = iter(call)
            sys.settrace(enter)
            found = next(pieces).text
            executor.say(number, "c")
            found += next(pieces).text
            look()
            sys.settrace(None)
            executor.finish(number)
            assert found + "".join(piece.text for piece in pieces) == call.partial == "abc", found
            pool.close()
            assert len(heard) == (2 if left <= 0 else 1)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 50, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


@pytest.mark.parametrize("when", range(12))
def test_f34_a_reader_that_reads_while_it_reads_loses_and_doubles_nothing(monkeypatch, when):
    """A signal handler that takes the next piece from the iterator that its thread takes one from."""
    ticket = Ticket(Job(1, Raw("a")), 0.0, float("inf"))
    cursor, found, left, since = ReadPosition(), [], when, TextBuffer.since

    def interrupt():
        nonlocal left
        left -= 1
        if left == -1:
            found.append(ticket.read(cursor))
            ticket.grow(Chunk("d", "D"))
            assert ticket.text == "abcd"

    def interrupted(text, offset):
        interrupt()
        part = since(text, offset)
        interrupt()
        return part

    ticket.grow(Chunk("a", "A"))
    found.append(ticket.read(cursor))
    ticket.grow(Chunk("b", "B"))
    ticket.grow(Chunk("c", "C"))
    monkeypatch.setattr(TextBuffer, "since", interrupted)
    found.append(ticket.read(cursor))
    found.append(ticket.read(cursor))
    whole = "abcd" if left < 0 else "abc"
    assert "".join(chunk.text for chunk in found if chunk is not None) == whole
    assert "".join(chunk.answer for chunk in found if chunk is not None) == whole.upper()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the system has no such signal")
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_f34_stats_from_a_signal_handler(run_script, executor):
    done = run_script(
        f"""
        import faulthandler, signal, sys
        from poolinfer import Pool, Raw
        from poolinfer._executors.process import ProcessExecutor
        from poolinfer._data.specs import LaneSpec, ModelSpec
        from poolinfer.testing import FakeEngine, fake_pool

        faulthandler.dump_traceback_later(40, exit=True)
        if {executor!r} == "thread":
            pool = fake_pool(FakeEngine())
        else:
            from poolinfer.testing._crash import crash_program

            spec = ModelSpec("", (0, 0, 0, 0)), LaneSpec(n_ctx=4096, slots=4)
            pool = Pool(executor=ProcessExecutor(*spec, program=crash_program()))
        pool.start()
        left = 3

        def line(frame, event, arg):
            global left
            if event == "line":
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    signal.raise_signal(signal.SIGALRM)
            return line

        signal.signal(signal.SIGALRM, lambda *_: pool.stats())
        own = type(pool._lifecycle._executor).stats.__code__
        for n in range(1, 30):
            left = n
            sys.settrace(lambda frame, event, arg: line if frame.f_code is own else None)
            pool.stats()
            sys.settrace(None)
        pool.close(0)
        print("done", left > 0, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]


def test_f34_submit_from_a_signal_handler_at_every_line(run_script):
    """A full queue counts what waits, under a lock that the thread below the handler may hold."""
    done = run_script(
        """
        import faulthandler, os, sys
        import poolinfer
        from poolinfer import Pool, PoolFull, Raw
        from poolinfer.testing import FakeExecutor, wait_until

        faulthandler.dump_traceback_later(40, exit=True)
        src = os.path.dirname(poolinfer.__file__)

        def run(n):
            left = n
            refused = []
            def ask():
                try:
                    pool.submit(Raw("from the handler"))
                except PoolFull:
                    refused.append(True)
            def line(frame, event, arg):
                nonlocal left
                if event == "line":
                    left -= 1
                    if left == 0:
                        sys.settrace(None)
                        ask()
                return line
            def enter(frame, event, arg):
                return line if frame.f_code.co_filename.startswith(src) else None
            executor = FakeExecutor(manual=True, slots=1)
            with Pool(executor=executor, max_queue=1) as pool:
                calls = [pool.submit(Raw("a"))]
                wait_until(lambda: executor.taken)
                calls.append(pool.submit(Raw("b")))
                sys.settrace(enter)
                ask()
                pool.stats()
                calls[1].cancel()
                sys.settrace(None)
                assert refused
                pool.close(0)
            return left <= 0

        n = 1
        while run(n):
            n += 1
        print("done", n > 20, flush=True)
        """
    )
    assert done.stdout == "done True\n", done.stderr[-3000:]

"""Many prompts: what `map` and `amap` do with them."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import ClassVar

import anyio
import numpy
import pytest
from submitted import later, taken

from poolinfer import Chat, Embed, EngineError, InvalidRequest, Pool, PoolClosed, Prompt, Raw
from poolinfer._pool.dispatcher import Dispatcher
from poolinfer.testing import FakeExecutor, wait_until


def sync_map(pool, *args, **options):
    return list(pool.map(*args, **options))


def async_map(backend, pool, *args, **options):
    async def main():
        return [found async for found in pool.amap(*args, **options)]

    return anyio.run(main, backend=backend)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def mapped(request):
    """Each of `map` and `amap`, as a sync function that returns all results."""
    return sync_map if request.param == "sync" else partial(async_map, request.param)


def reply_unless_bad(request):
    if "bad" in str(request.prompt):
        raise EngineError("this one")
    return "fine"


@pytest.mark.parametrize(
    "prompts", ["Hello", b"Hello", {"role": "user"}, Prompt.user("Hello"), Chat("Hello"), 5]
)
def test_map_of_one_prompt_is_refused(prompts):
    """Before, a prompt of five letters was run as five chats of one letter."""
    with Pool(executor=FakeExecutor()) as pool:
        for use in (pool.map, pool.amap):
            with pytest.raises(InvalidRequest, match="prompts") as caught:
                use(prompts)
            assert caught.value.field == "prompts"
        for window in (0, -1, 1.5, True):
            with pytest.raises(InvalidRequest, match="window"):
                pool.map(["Hello"], window=window)
        assert pool.stats().accepted == 0


def test_one_bad_prompt_leaves_the_others_their_answers(mapped):
    prompts = ["good", "", "bad", 7, *["good"] * 40]
    with Pool(executor=FakeExecutor(lambda request: reply_unless_bad(request))) as pool:
        found = mapped(pool, prompts, return_exceptions=True, window=4)
    assert [type(one).__name__ for one in found[:5]] == [
        *("Response", "InvalidRequest", "EngineError", "InvalidRequest", "Response")
    ]
    assert [one.text for one in found[4:]] == ["fine"] * 40
    assert [(one.index, one.prompt) for one in found[1:4]] == [(1, ""), (2, "bad"), (3, 7)]


def test_the_error_says_which_prompt_it_was(mapped):
    with Pool(executor=FakeExecutor(reply_unless_bad)) as pool:
        with pytest.raises(EngineError, match=r"this one \(prompts\[2\]\)") as caught:
            mapped(pool, ["good", "good", "bad", "good"])
        assert (caught.value.index, caught.value.prompt) == (2, "bad")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.index, again.prompt) == (str(caught.value), 2, "bad")
        # An error that is not the error of a call comes at its place, too.
        with pytest.raises(InvalidRequest, match=r"prompt is ''.*\(prompts\[1\]\)") as refused:
            mapped(pool, ["good", "", "good"])
        assert (refused.value.index, refused.value.field) == (1, "prompt")
    assert EngineError("elsewhere").index is None


def test_a_bad_prompt_comes_at_its_place():
    """The results of earlier prompts come before the error."""
    executor = FakeExecutor(manual=True)
    with Pool(executor=executor) as pool:
        results = pool.map(["first", "", "third"], window=3)
        timer = threading.Timer(0.05, lambda: wait_until(lambda: executor.taken) or executor.finish(1))
        timer.start()
        assert next(results).text == ""
        with pytest.raises(InvalidRequest):
            next(results)
        pool.close(0)


def test_results_come_as_they_end(mapped):
    """Results come in the order in which calls end, each with its prompt."""
    gates = {str(n): threading.Event() for n in range(4)}

    class Parallel(FakeExecutor):
        """Answers each job on a thread of its own, when its gate opens."""

        def submit(self, job, emit):
            taken = super().submit(job, emit)
            if taken:
                threading.Thread(target=self._answer_later, args=(job,)).start()
            return taken

        def _answer_later(self, job):
            gates[job.request.prompt].wait(30)
            self.say(job.id, f"answer {job.request.prompt}")
            self.finish(job.id)
            if job.request.prompt != "0":
                gates[str(int(job.request.prompt) - 1)].set()

    with Pool(executor=Parallel(manual=True, slots=4)) as pool:
        gates["3"].set()
        prompts = [Raw(str(n)) for n in range(4)]
        found = mapped(pool, prompts, ordered=False, with_prompts=True, window=4)
    assert [prompt.prompt for prompt, _ in found] == ["3", "2", "1", "0"]
    assert all(any(prompt is one for one in prompts) for prompt, _ in found)
    assert [response.text for _, response in found] == ["answer 3", "answer 2", "answer 1", "answer 0"]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_each_prompt_has_one_result_of_its_own(mapped, ordered, window):
    with Pool(executor=FakeExecutor(slots=3)) as pool:
        prompts = [f"number {n}" for n in range(60)]
        found = mapped(pool, iter(prompts), ordered=ordered, window=window, with_prompts=True)
        assert all(prompt == response.text for prompt, response in found)
        assert sorted(prompt for prompt, _ in found) == sorted(prompts)
        if ordered:
            assert [prompt for prompt, _ in found] == prompts
        assert pool.stats().accepted == 60


def test_map_out_of_order_is_cancelled_by_its_end(run_async):
    async def main():
        executor = FakeExecutor(manual=True, slots=3)
        async with Pool(executor=executor) as pool, anyio.create_task_group() as group:

            async def read():
                async with aclosing(pool.amap(["a"] * 9, window=5, ordered=False)) as results:
                    async for _ in results:
                        break

            group.start_soon(read)
            while len(executor.taken) < 3:
                await anyio.sleep(0.002)
            executor.finish(2)
            while pool.stats().cancelled < 4:
                await anyio.sleep(0.002)
            executor.step()

    run_async(main)


@pytest.mark.filterwarnings("ignore:this waits inside a running event loop")
def test_what_was_accepted_is_given_out_before_the_pool_s_end_is_said(mapped):
    executor = FakeExecutor(slots=1)
    pool = Pool(executor=executor)
    pool.start()

    def prompts():
        yield from ("one", "two")
        pool.close()
        yield "three"

    with pytest.raises(PoolClosed):
        mapped(pool, prompts(), return_exceptions=True)
    assert pool.stats().succeeded == 2


def test_map_takes_no_snapshot_of_the_statistics(mapped, monkeypatch):
    """Before, it took one for every prompt, and so held the dispatcher's lock for 0.33 ms each time."""
    with Pool(executor=FakeExecutor(slots=40)) as pool:
        pool.start()
        asked = []
        monkeypatch.setattr(Dispatcher, "stats", lambda *_: asked.append(1))
        assert pool._slots() == 40
        assert len(mapped(pool, ["a"] * 100)) == 100
        monkeypatch.undo()
        assert asked == []


def test_the_window_follows_the_slots():
    executor = FakeExecutor(manual=True, slots=2)
    with Pool(executor=executor, max_queue=5000) as pool:
        pool.start()
        assert pool._slots() == 2
        executor.slots = 100
        executor.ready()
        assert pool._slots() == 100
        results = pool.map(["a"] * 1000)
        timer = threading.Timer(
            0.05, lambda: wait_until(lambda: pool.stats().accepted == 200) or executor.finish(1)
        )
        timer.start()
        next(results)
        results.close()
        pool.close(0)


def test_a_bad_option_of_map_is_refused_at_once():
    """Before, with `return_exceptions`, a bad option gave one error for each prompt."""
    with Pool(executor=FakeExecutor()) as pool:
        for use in (pool.map, pool.amap):
            for options, message in (
                ({"temperature": -1}, "^temperature is -1"),
                ({"max_length": 5}, "use max_tokens; map itself has window, "),
                (
                    {"return_exception": True},
                    "map has no option 'return_exception': did you mean return_except",
                ),
                ({"order": False}, "map has no option 'order': did you mean ordered"),
                ({"prompt": "a"}, "map has no option 'prompt': did you mean prompts"),
            ):
                with pytest.raises(InvalidRequest, match=message):
                    use(["a", "b"], return_exceptions=True, **options)
        assert [one.text for one in pool.map(["a"], max_tokens=numpy.int64(3), temperature=None)] == ["a"]


def test_options_of_map_beside_a_request_are_refused_at_its_place(mapped):
    with Pool(executor=FakeExecutor()) as pool:
        found = mapped(pool, ["Hi", Chat("Hi")], temperature=0, return_exceptions=True)
    assert (found[0].text, type(found[1]), found[1].index) == ("Hi", InvalidRequest, 1)


class Bar:
    """Stands in for tqdm's bar, and remembers what it showed."""

    made: ClassVar = []

    def __init__(self, **options):
        self.total, self.shown, self.closed = options["total"], 0, False
        Bar.made.append(self)

    def update(self):
        self.shown += 1

    def close(self):
        self.closed = True


def test_the_progress_bar_counts_results_and_not_prompts(mapped, monkeypatch):
    """Before, it had counted the whole window when there was no answer yet."""
    import tqdm.auto

    monkeypatch.setattr(Bar, "made", [])
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    shown = []

    def prompts():
        for n in range(6):
            if Bar.made:
                shown.append(Bar.made[0].shown)
            yield f"number {n}"

    with Pool(executor=FakeExecutor(reply_unless_bad)) as pool:
        mapped(pool, prompts(), window=3, progress=True)
        assert [bar.total for bar in Bar.made] == [None]
        assert shown == [0, 0, 0, 0, 1, 2]
        with pytest.raises(EngineError):
            mapped(pool, ["good", "bad", "good"], progress=True)
        pool.map(["never asked for"], progress=True)
    assert [(bar.total, bar.shown, bar.closed) for bar in Bar.made] == [(None, 6, True), (3, 1, True)]


def test_map_submits_nothing_before_its_first_result_is_asked_for():
    with Pool(executor=FakeExecutor()) as pool:
        results = pool.map(["a", "b"])
        assert pool.stats().accepted == 0
        assert len(list(results)) == 2


def test_map_keeps_the_order():
    with Pool(executor=FakeExecutor(slots=3)) as pool:
        prompts = [f"number {n}" for n in range(50)]
        assert [r.text for r in pool.map(prompts, max_tokens=5)] == prompts
        assert [r.text for r in pool.map(map(Raw, prompts), window=1)] == prompts
        vectors = list(pool.map([Embed("a"), Embed(["b", "c"])]))
        assert (vectors[0].dimensions, len(vectors[1])) == (4, 2)
        assert list(pool.map([])) == []


def test_map_reads_no_further_than_its_window():
    read = 0

    def prompts():
        nonlocal read
        for read in range(1, 41):  # noqa: B007
            yield "word"

    with Pool(executor=FakeExecutor()) as pool:
        for n, _ in enumerate(pool.map(prompts(), window=3), 1):
            assert read <= n + 3
            assert pool.stats().accepted <= n + 3
    assert read == 40


def test_map_raises_at_its_place_and_cancels_the_rest():
    gate = threading.Event()

    def reply(request):
        if request.prompt == "bad":
            raise EngineError("this one")
        return "good" if request.prompt == "good" or gate.wait(30) else "never"

    with Pool(executor=FakeExecutor(reply)) as pool:
        results = pool.map(map(Raw, ["good", "good", "bad", *["later"] * 10]), window=8)
        assert [next(results).text, next(results).text] == ["good", "good"]
        with pytest.raises(EngineError, match="this one"):
            next(results)
        wait_until(lambda: pool.stats().cancelled == pool.stats().accepted - 3, "the cancels")
        assert pool.stats().running + pool.stats().waiting == 0
        gate.set()
        assert list(results) == []


def test_map_closed_early_cancels(pool, executor):
    results = pool.map(["a"] * 10, window=5)
    later(lambda: executor.finish(taken(executor, 1)))
    next(results)
    results.close()
    wait_until(lambda: pool.stats().running + pool.stats().waiting == 0)
    assert pool.stats().cancelled == pool.stats().accepted - 1 > 0


def test_map_waits_where_submit_says_pool_full():
    gate = threading.Event()
    executor = FakeExecutor(lambda request: "ok" if gate.wait(30) else "never", slots=1)
    with Pool(executor=executor, max_queue=2) as pool, ThreadPoolExecutor(1) as threads:
        others = [pool.submit(Raw("other"))]
        wait_until(lambda: executor.taken)
        others += [pool.submit(Raw("other")) for _ in range(2)]
        mapped = threads.submit(lambda: [r.text for r in pool.map(["a"] * 9, window=100)])
        wait_until(lambda: pool.stats().rejected > 2, "PoolFull inside map")
        gate.set()
        assert mapped.result(30) == ["ok"] * 9
        assert [call.result().text for call in others] == ["ok"] * 3


def test_map_shows_progress(capsys):
    with Pool(executor=FakeExecutor()) as pool:
        assert len(list(pool.map(["a"] * 3, progress=True))) == 3
    assert "3/3" in capsys.readouterr().err

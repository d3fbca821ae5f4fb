"""Which sequence a prompt gets and what it reuses: the policy alone, without an engine."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from poolinfer._engine.lane.prefix_cache import (
    AwaitedPrefix,
    KVSequence,
    PrefixCache,
    SequenceChoice,
    common_length,
    pack,
)

LEAST = 16  # of a context of up to 2 048 tokens


def words(start: int, n: int) -> list[int]:
    return list(range(start, start + n))


SYSTEM = words(0, 100)


class Books:
    """A cache, and beside it what the sequences of its context really hold."""

    def __init__(self, n_seq: int, *, on: bool = True) -> None:
        self.cache = PrefixCache(n_seq, share_cost=8, separate=True, on=on)
        self.cells: list[list[int]] = [[] for _ in range(n_seq)]
        self.prompts: dict[int, list[int]] = {}
        self.copies: tuple[tuple[int, int], ...] = ()

    def find(self, prompt: list[int], key: str | None = None) -> SequenceChoice | AwaitedPrefix:
        return self.cache.find(pack(prompt), key)

    def start(self, prompt: list[int], key: str | None = None) -> KVSequence:
        """Place a prompt; nothing of it is computed yet but for what is kept."""
        place = self.find(prompt, key)
        assert isinstance(place, SequenceChoice), place
        for source, target, n in place.copies:
            self.cells[target] = self.cells[source][:n]
        assert len(self.cells[place.number]) == place.held
        del self.cells[place.number][place.kept :]
        assert self.cells[place.number] == prompt[: place.kept]
        assert place.kept < len(prompt)
        sequence = self.cache.take(place, pack(prompt), key)
        assert (sequence.number, sequence.computed, sequence.running) == (place.number, place.kept, True)
        self.prompts[place.number] = prompt
        self.copies = tuple(copy[:2] for copy in place.copies)
        return sequence

    def compute(self, sequence: KVSequence, n: int, *more: int) -> None:
        """Compute `n` tokens of the prompt, then `more` that were generated."""
        prompt = self.prompts[sequence.number]
        self.cells[sequence.number] += [*prompt[sequence.computed : sequence.computed + n], *more]
        sequence.computed = len(self.cells[sequence.number])

    def leave(self, sequence: KVSequence) -> bool:
        kept = self.cache.leave(sequence, pack(self.cells[sequence.number]))
        if not kept:
            self.cells[sequence.number] = []
        return kept

    def call(self, prompt: list[int], *more: int, key: str | None = None) -> KVSequence:
        """A call from its start to its end."""
        sequence = self.start(prompt, key)
        self.compute(sequence, len(prompt), *more)
        self.leave(sequence)
        return sequence


token_lists = st.lists(st.integers(0, 2) | st.just(2**31 - 1), max_size=80)


@given(token_lists, token_lists, token_lists)
def test_common_is_the_longest_common_prefix(start: list[int], one: list[int], other: list[int]) -> None:
    start = start * 20
    expected = len(start)
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        expected += 1
    assert common_length(pack(start + one), pack(start + other)) == expected
    assert common_length(pack(one), pack(one)) == len(one)


def test_empty_sequences_come_first_and_the_lowest_of_them() -> None:
    books = Books(4)
    assert [books.start(words(1000 * n, 50)).number for n in range(4)] == [0, 1, 2, 3]


def test_a_prompt_copies_from_a_running_call() -> None:
    books = Books(4)
    first = books.start(SYSTEM + words(1000, 20))
    books.compute(first, 120)
    second = books.start(SYSTEM + words(2000, 20))
    assert books.copies == ((0, 1),)
    assert second.computed == 100


def test_a_prompt_copies_from_a_resident_and_leaves_it_alone() -> None:
    books = Books(4)
    books.call(SYSTEM + words(1000, 50), 7, 8, 9)
    assert books.call(SYSTEM + words(2000, 50)).number == 1
    assert books.copies == ((0, 1),)
    assert books.start([*SYSTEM, *words(1000, 50), 7, 8, 9, 10]).number == 0


def test_a_continued_conversation_stays_where_it_is() -> None:
    books = Books(4)
    prompt = SYSTEM
    for turn in range(5):
        prompt = [*prompt, *words(1000 * (turn + 1), 30)]
        sequence = books.call(prompt, 5, 6, 7)
        assert (sequence.number, books.copies) == (0, ())
        prompt = [*prompt, 5, 6, 7]


def test_a_template_may_take_back_what_it_put_before_the_answer() -> None:
    books = Books(4)
    books.call([*SYSTEM, 1, 2, 3], *words(1000, 200))
    again = books.start([*SYSTEM, *words(2000, 50)])
    assert (again.number, again.computed, books.copies) == (0, 100, ())


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    books = Books(2)
    books.call(SYSTEM)
    assert books.start(SYSTEM).computed == len(SYSTEM) - 1


def test_a_short_prefix_is_not_worth_a_copy() -> None:
    books = Books(2)
    books.call(words(0, LEAST - 1) + words(1000, 50))
    few = books.start(words(0, LEAST - 1) + words(2000, 50))
    assert (few.number, few.computed, books.copies) == (1, 0, ())
    books.leave(few)
    enough = books.start(words(0, LEAST - 1) + words(1000, 1) + words(3000, 50))
    assert (enough.computed, books.copies) == (LEAST, ((0, 1),))


def test_copies_must_save_more_where_sequences_are_long() -> None:
    cache = PrefixCache(2, share_cost=256, separate=True)
    shared, other = words(0, 200), words(5000, 100)
    sequence = cache.take(SequenceChoice(0), pack(shared), None)
    sequence.computed = 200
    assert cache.find(pack(shared + other), None) == SequenceChoice(1)
    sequence = cache.take(SequenceChoice(0), pack(shared + shared), None)
    sequence.computed = 400
    assert cache.find(pack(shared + shared + other), None) == SequenceChoice(1, ((0, 1, 400),), 400, 400)


def test_the_least_recently_used_resident_makes_room() -> None:
    books = Books(3)
    for n in range(3):
        books.call(words(1000 * n, 50))
    books.call(words(0, 50) + words(5000, 5))  # uses the first one again
    assert books.call(words(6000, 50)).number == 1
    assert books.call(words(7000, 50)).number == 2
    assert books.call(words(8000, 50)).number == 0


def test_copying_from_a_resident_is_using_it() -> None:
    books = Books(3)
    books.call(SYSTEM + words(1000, 100))
    books.call(words(2000, 50))
    books.call(SYSTEM + words(3000, 100))
    assert books.copies == ((0, 2),)
    assert books.call(words(4000, 50)).number == 1


@pytest.mark.parametrize(("n", "moves"), [(128, True), (127, False)])
def test_running_sequences_lie_side_by_side_and_large_residents_make_way(n: int, moves: bool) -> None:
    books = Books(4)
    residents = [words(1000 * i, n) for i in range(4)]
    for i in (0, 1, 2, 3, 0, 1, 2):
        assert books.call(residents[i]).number == i
    assert books.start([*residents[1], 1]).number == 1
    beside = books.start(words(6000, 50))  # 3 is older, but 0 is beside 1
    assert (beside.number, books.copies) == (0, ((0, 3),) if moves else ())
    books.leave(beside)
    assert books.start([*residents[0], 1]).computed == (n if moves else 0)


def test_a_resident_makes_way_before_another_is_copied_to_its_place() -> None:
    books = Books(5)
    residents = [words(1000 * i, 150) for i in range(1, 4)] + [SYSTEM + words(5000, 50), words(6000, 150)]
    for i in (0, 1, 2, 3, 4, 0, 2, 3):
        assert books.call(residents[i]).number == i
    assert books.start(residents[1]).number == 1
    beside = books.start(SYSTEM + words(7000, 50))
    assert (beside.number, books.copies) == (0, ((0, 4), (3, 0)))
    assert books.start([*residents[0], 1]).number == 4


def test_a_resident_does_not_make_way_into_what_is_about_to_be_copied() -> None:
    books = Books(4)
    books.call(SYSTEM + words(1000, 50))
    for n in (2000, 3000, 4000):
        books.call(words(n, 150))
    running = books.start(words(4000, 160))
    again = books.start(words(2000, 160))
    assert (running.number, again.number) == (3, 1)
    books.start(SYSTEM + words(5000, 50))
    assert books.copies == ((0, 2),)


def test_a_resident_that_begins_with_a_common_token_is_not_taken_for_a_continued_one() -> None:
    books = Books(2)
    books.call(words(0, 3), *words(1000, 200))
    assert books.start([*words(0, 3), *words(2000, 100)]).number == 1


def test_keys_share_nothing() -> None:
    books = Books(4)
    books.call(SYSTEM, key="a")
    books.call(SYSTEM)
    for key in ("b", None, "a"):
        sequence = books.start([*SYSTEM, 1], key)
        assert sequence.computed == (0 if key == "b" else 100)


def test_nothing_is_kept_where_reuse_is_off() -> None:
    books = Books(2, on=False)
    sequence = books.start(SYSTEM)
    books.compute(sequence, 50)
    assert isinstance(books.find(SYSTEM), SequenceChoice)
    assert books.start(SYSTEM).computed == 0
    assert not books.leave(sequence)
    assert books.start(SYSTEM).computed == 0


def test_a_prompt_waits_for_one_that_is_being_computed() -> None:
    books = Books(4)
    first = books.start(SYSTEM + words(1000, 100))
    books.compute(first, 50)
    wait = books.find(SYSTEM + words(2000, 100))
    assert isinstance(wait, AwaitedPrefix)
    assert not wait.over
    books.compute(first, 49)
    assert not wait.over
    books.compute(first, 1)
    assert wait.over
    assert books.start(SYSTEM + words(2000, 100)).computed == 100


def test_a_prompt_does_not_wait_for_little() -> None:
    books = Books(4)
    books.call(SYSTEM)
    first = books.start(SYSTEM + words(1000, 100))
    assert isinstance(books.find(SYSTEM + words(1000, LEAST - 1) + words(2000, 9)), SequenceChoice)
    assert isinstance(books.find(SYSTEM + words(1000, LEAST) + words(2000, 9)), AwaitedPrefix)
    assert first.computed == 100


@pytest.mark.parametrize("how", ["leave", "clear"])
def test_a_wait_ends_with_the_call_that_is_waited_for(how: str) -> None:
    books = Books(2)
    first = books.start(SYSTEM)
    books.compute(first, 40)
    wait = books.find([*SYSTEM, 1])
    assert isinstance(wait, AwaitedPrefix)
    if how == "leave":
        books.leave(first)
    else:
        books.cache.clear()
        books.cells = [[], []]
    assert wait.over
    assert books.start([*SYSTEM, 1]).computed == (40 if how == "leave" else 0)


def test_what_was_not_computed_after_all_is_not_reused() -> None:
    books = Books(2)
    first = books.start(SYSTEM)
    books.compute(first, 60)
    assert books.cache.undo(first.number, 40) == 20
    del books.cells[0][20:]
    books.leave(first)
    assert books.start([*SYSTEM, 1]).computed == 20


@pytest.mark.parametrize("shared", [0, 150, 4000])
def test_finding_takes_less_than_a_millisecond(shared: int) -> None:
    """32 sequences of 4 096 tokens; the bound is for slow machines."""
    cache, start = PrefixCache(33, share_cost=32, separate=True), words(100_000, shared)
    for n in range(32):
        ids = pack(start + words(5000 * n, 4096 - shared))
        sequence = cache.take(SequenceChoice(n), ids, None)
        sequence.computed = 4096
    ids = pack(start + words(900_000, 4096 - shared))
    took = []
    for _ in range(20):
        began = time.thread_time()
        cache.find(ids, None)
        took.append(time.thread_time() - began)
    assert min(took) < 0.005


class Lane(RuleBasedStateMachine):
    """Calls come, wait, compute, are undone, and end in any order; the books must agree with the cells."""

    running = Bundle("running")
    prompts = st.builds(
        lambda base, cut, own: words(100 * base, 60)[:cut] + words(1000 + 10 * own, 40),
        st.integers(0, 1),
        st.sampled_from([0, 10, 20, 40, 60]),
        st.integers(0, 3),
    )
    keys = st.sampled_from([None, "a"])

    def __init__(self) -> None:
        super().__init__()
        self.books = Books(4)
        self.keys_of: dict[int, str | None] = {}
        self.live: list[KVSequence] = []

    @precondition(lambda self: len(self.live) < 4)
    @rule(target=running, prompt=prompts, key=keys)
    def start(self, prompt: list[int], key: str | None) -> KVSequence | None:
        found = self.books.find(prompt, key)
        if isinstance(found, AwaitedPrefix):
            assert found.sequence in self.live
            assert not found.over
            assert found.sequence.computed < found.until <= len(self.books.prompts[found.sequence.number])
            return None
        before = dict(self.keys_of)
        sequence = self.books.start(prompt, key)
        for source, target, _ in found.copies:
            before[target] = before[source]
        assert not sequence.computed or before[sequence.number] == key
        self.keys_of = {**before, sequence.number: key}
        self.live.append(sequence)
        return sequence

    @rule(sequence=running, n=st.integers(1, 100))
    def compute(self, sequence: KVSequence | None, n: int) -> None:
        if sequence in self.live:
            pending = len(self.books.prompts[sequence.number]) - sequence.computed
            self.books.compute(sequence, n, *([] if n < pending else [n]))

    @rule(sequence=running, n=st.integers(1, 100))
    def undo(self, sequence: KVSequence | None, n: int) -> None:
        if sequence in self.live:
            n = min(n, sequence.computed)
            left = self.books.cache.undo(sequence.number, n)
            del self.books.cells[sequence.number][left:]

    @rule(sequence=consumes(running))
    def leave(self, sequence: KVSequence | None) -> None:
        if sequence in self.live:
            self.live.remove(sequence)
            self.books.leave(sequence)

    @rule()
    def clear(self) -> None:
        self.books.cache.clear()
        self.books.cells = [[] for _ in range(4)]
        self.live.clear()

    @invariant()
    def running_ones_have_sequences_of_their_own(self) -> None:
        assert len({sequence.number for sequence in self.live}) == len(self.live)
        for sequence in self.live:
            assert sequence.computed == len(self.books.cells[sequence.number])


TestLane = Lane.TestCase

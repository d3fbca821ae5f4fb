"""How large a context becomes, who has room in it, and which sequences are computed together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poolinfer._engine.engine_protocol import Need
from poolinfer._engine.lane.sequences import admitted
from poolinfer._engine.llama.capacity import Capacity, CapacityBounds
from poolinfer._engine.llama.passes import groups

WIDE = CapacityBounds(n_seq=16, n_ctx=4096, tokens=16 * 4096)
TIGHT = CapacityBounds(n_seq=16, n_ctx=4096, tokens=8192)


def admit(bounds: CapacityBounds, lengths: list[int]) -> list[int]:
    """Which calls of these lengths a lane would run together."""
    needs = [Need(length) for length in lengths]
    return admitted(needs, lambda asked: bounds.can_hold(len(asked), max(asked).length), len(needs))


def test_it_begins_small() -> None:
    assert WIDE.first() == Capacity(4, 512)
    assert CapacityBounds(1, 100, 256).first() == Capacity(1, 100)
    assert CapacityBounds(16, 4096, 4096).first() == Capacity(4, 512)


def test_short_calls_have_all_their_length_at_once_where_memory_allows() -> None:
    assert CapacityBounds(16, 1024, 16 * 1024).first() == Capacity(4, 1024)
    assert CapacityBounds(16, 1024, 16 * 1024 - 1).first() == Capacity(4, 512)
    assert CapacityBounds(16, 1025, 10**6).first() == Capacity(4, 512)
    assert CapacityBounds(16, 100, 10**6).first() == Capacity(4, 100)


def test_memory_is_counted_as_llama_cpp_takes_it() -> None:
    """A multiple of 256 tokens for each sequence."""
    assert [Capacity(2, n_ctx).tokens for n_ctx in (16, 256, 257, 600)] == [512, 512, 1024, 1536]
    assert admit(CapacityBounds(16, 300, 512 * 3), [300] * 16) == [0, 1, 2]
    assert CapacityBounds(16, 300, 512 * 3 - 1).first() == Capacity(2, 300)


def test_it_grows_by_what_calls_need() -> None:
    now = WIDE.first()
    assert WIDE.grow(now, 4, 512) is now
    assert [WIDE.grow(now, n, 10).n_seq for n in (5, 8, 9, 16)] == [8, 8, 16, 16]
    lengths = [513, 768, 769, 1025, 1536, 1537, 3072, 3073, 4096]
    assert [WIDE.grow(now, 1, n).n_ctx for n in lengths] == [
        768,
        768,
        1024,
        1536,
        1536,
        2048,
        3072,
        4096,
        4096,
    ]
    assert WIDE.grow(Capacity(16, 512), 1, 3000) == Capacity(16, 3072)
    assert CapacityBounds(9, 3256, 9 * 3328).grow(now, 5, 3100) == Capacity(9, 3256)


def test_the_oldest_calls_fit_first() -> None:
    assert admit(WIDE, [4096] * 20) == list(range(16))
    assert admit(TIGHT, [300] * 16) == list(range(16))
    assert admit(TIGHT, [600] * 16) == list(range(10))
    assert admit(TIGHT, [300, 4000, 300, 300]) == [0, 1]
    assert admit(TIGHT, [300, 300, 4000, 300]) == [0, 1, 3]
    assert admit(TIGHT, [4096, 1, 1]) == [0, 1]


def test_without_memory_for_both_width_or_length_goes_back() -> None:
    assert TIGHT.grow(Capacity(16, 512), 1, 4000) == Capacity(2, 4096)
    assert TIGHT.grow(Capacity(2, 4096), 16, 300) == Capacity(16, 512)
    assert TIGHT.grow(Capacity(16, 512), 4, 1000) == Capacity(8, 1024)
    assert CapacityBounds(9, 3256, 9 * 3328).grow(Capacity(4, 3256), 7, 3000) == Capacity(9, 3256)


lengths = st.lists(st.integers(1, 4096), min_size=1, max_size=16)


@given(lengths, st.integers(4096, 70_000), lengths, st.integers(1, 16))
def test_whoever_is_admitted_has_room(now: list[int], tokens: int, then: list[int], n_seq: int) -> None:
    bounds = CapacityBounds(n_seq, 4096, tokens)
    capacity = bounds.first()
    for asked in (now, then):
        admitted = admit(bounds, asked)
        assert admitted[0] == 0
        assert len(admitted) <= n_seq
        capacity = bounds.grow(capacity, len(admitted), max(asked[i] for i in admitted))
        assert capacity.n_seq >= len(admitted)
        assert capacity.n_ctx >= max(asked[i] for i in admitted)
        assert capacity.tokens <= tokens
        assert bounds.grow(capacity, len(admitted), max(asked[i] for i in admitted)) == capacity


def cost(found: list[range], rows: list[tuple[int, int]], width: int) -> int:
    """What `groups` is to make small, with gaps in the numbers counted as llama.cpp does."""
    total = 0
    for group in found:
        longest = max(rows[i][1] for i in group)
        gaps = sum(rows[i + 1][0] != rows[i][0] + 1 for i in group if i + 1 in group)
        total += (1 + gaps) * 4 * width + longest * len(group)
    return total


def test_streams_of_like_lengths_are_computed_together() -> None:
    assert groups([], 1024) == []
    assert groups([(n, 300 + n) for n in range(16)], 1024) == [range(16)]
    assert groups([(0, 10), (3, 300)], 1024) == [range(2)]


def test_a_long_one_is_computed_apart() -> None:
    short = [(n, 250) for n in range(8)]
    assert groups([*short, (8, 3000)], 1024) == [range(8), range(8, 9)]
    assert groups([*short, (8, 700)], 1024) == [range(9)]
    assert groups([(0, 3000), *[(n, 250) for n in range(1, 9)]], 1024) == [range(1), range(1, 9)]


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 4000)), min_size=1, max_size=12, unique_by=lambda x: x[0]
    )
)
def test_groups_hold_everyone_once_and_cost_no_more_than_one_group(rows: list[tuple[int, int]]) -> None:
    rows = sorted(rows)
    found = groups(rows, 256)
    assert [i for group in found for i in group] == list(range(len(rows)))
    assert cost(found, rows, 256) <= cost([range(len(rows))], rows, 256)

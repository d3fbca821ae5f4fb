"""What the KV sequences of a context hold, and where a new prompt goes. Decisions only: no engine here.

A call that ends leaves its KV behind, as a *resident*. A new prompt that begins like a resident, or like a running
call, takes that prefix over instead of computing it. If the prefix is just being computed, the new prompt waits for
it. The resident that was not used for the longest time makes room.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from ..engine_protocol import Need

_TOKEN_BYTES = array("i").itemsize
_COMPARED_BYTES = 256
_LEAST_PREFIX = 16
# A resident that may never be asked for again moves only if that is so many times cheaper than computing it.
_MOVE_WORTH = 16
# Tokens of an empty reasoning block: templates put one before an answer, and leave it out in the next turn.
_EMPTY_REASONING = 4


def pack(tokens: Iterable[int]) -> bytes:
    """Token ids as bytes, four each, which compare fast."""
    return array("i", tokens).tobytes()


def common_length(one: bytes, other: bytes) -> int:
    """How many tokens two packed texts share at their start."""
    low, high, size = 0, min(len(one), len(other)), _COMPARED_BYTES
    while low < high:
        end = min(low + size, high)
        if one[low:end] != other[low:end]:
            high = end - 1
            break
        low, size = end, 2 * size
    while low < high:
        end = (low + high + 1) // 2
        if one[low:end] == other[low:end]:
            low = end
        else:
            high = end - 1
    return low // _TOKEN_BYTES


@dataclass(slots=True, eq=False)
class KVSequence:
    """One sequence of a context.

    Attributes:
        number: the sequence's number in the context.
        ids: packed tokens: a running call's prompt, or all tokens that a resident holds.
        key: the `cache_key` of the call that computed them.
        n_prompt: how many of the tokens are of a prompt.
        computed: tokens whose KV the sequence holds.
        running: whether the sequence belongs to a call that runs.
        used: when the sequence was last used, as a count; 0 for an empty one.
    """

    number: int
    ids: bytes = b""
    key: str | None = None
    n_prompt: int = 0
    computed: int = 0
    running: bool = False
    used: int = 0


@dataclass(frozen=True, slots=True)
class AwaitedPrefix:
    """A prompt should wait until a running sequence holds the prefix that both share.

    Attributes:
        sequence: the running sequence.
        until: tokens of the prefix.
    """

    sequence: KVSequence
    until: int

    @property
    def source(self) -> tuple[int, int]:
        """The number of the running sequence, and the tokens of the prefix."""
        return self.sequence.number, self.until

    @property
    def over(self) -> bool:
        """Whether the prefix is computed, or its call has ended without that."""
        return not self.sequence.running or self.sequence.computed >= self.until


@dataclass(frozen=True, slots=True)
class SequenceChoice:
    """Where a prompt goes.

    Attributes:
        number: the number of its sequence.
        copies: prefixes to share first, in this order, as (source, target, tokens).
        held: tokens that the sequence holds after that.
        kept: how many of them the prompt begins with; the others are to be cut off.
    """

    number: int
    copies: tuple[tuple[int, int, int], ...] = ()
    held: int = 0
    kept: int = 0

    @property
    def source(self) -> int:
        """The sequence that holds the kept tokens now."""
        return self.copies[-1][0] if self.copies and self.copies[-1][1] == self.number else self.number


class PrefixCache:
    """The sequences of one context.

    Args:
        n_seq: number of sequences.
        share_cost: what sharing costs, in prompt tokens computed; a common prefix must be at least as long.
        separate: whether sequences are computed together only where their numbers follow one another.
        on: whether anything may be reused.
        piece: tokens of a piece, where prompts are cut into pieces and a reused prefix must have the very bits that
            computing it would give. Then only whole pieces of prompts are reused. Answers are not, since they were
            computed row by row.
    """

    def __init__(
        self, n_seq: int, *, share_cost: int, separate: bool, on: bool = True, piece: int | None = None
    ) -> None:
        self._on = on
        self._piece = piece
        self._separate = separate
        self._now = count(1)
        self._set_cost(share_cost)
        self._all = [KVSequence(number) for number in range(n_seq)]

    def _set_cost(self, share_cost: int) -> None:
        self._share_cost = share_cost
        self._least = max(_LEAST_PREFIX, share_cost)

    def residents(self) -> list[Need]:
        """The sequences that hold something and belong to no call, the latest used first."""
        found = [one for one in self._all if one.computed and not one.running]
        found.sort(key=lambda one: -one.used)
        return [Need(one.computed, one.number) for one in found]

    def move(self, moved: Mapping[int, int], n_seq: int, share_cost: int) -> None:
        """Follow the context: sequences have the numbers in `moved` now; those that are not there are empty."""
        self._set_cost(share_cost)
        old, self._all = self._all, [KVSequence(number) for number in range(n_seq)]
        for one in old:
            if one.number in moved:
                one.number = moved[one.number]
                self._all[one.number] = one
            else:
                one.running = False

    def source(self, ids: bytes, key: str | None) -> tuple[int, int]:
        """The sequence that a prompt would share with now, or -1, and how many of its tokens."""
        found = self.find(ids, key)
        if isinstance(found, AwaitedPrefix):
            return found.source
        return (found.source, found.kept) if found.kept else (-1, 0)

    def find(self, ids: bytes, key: str | None) -> SequenceChoice | AwaitedPrefix:
        """Where a prompt should go, or what it should wait for. At least one sequence must belong to no call."""
        shared = [self._shared(ids, key, sequence) for sequence in self._all]
        ready = [min(n, sequence.computed) for n, sequence in zip(shared, self._all, strict=True)]
        source = max(self._all, key=lambda one: (ready[one.number], one.used))
        ahead = max(self._all, key=lambda one: shared[one.number])
        if shared[ahead.number] - ready[source.number] >= self._least:
            return AwaitedPrefix(ahead, shared[ahead.number])
        return self._choose(source, ready)

    def take(self, choice: SequenceChoice, ids: bytes, key: str | None) -> KVSequence:
        """Give a prompt the sequence that `find` chose; the context makes the copies."""
        for source, target, _ in choice.copies:
            self._all[target] = replace(self._all[source], number=target, running=False)
            self._all[source].used = next(self._now)
        taken = KVSequence(choice.number, ids, key, len(ids) // _TOKEN_BYTES, choice.kept, running=True)
        self._all[choice.number] = taken
        return taken

    def leave(self, sequence: KVSequence, ids: bytes) -> bool:
        """Make a call's sequence a resident; False if it is not worth keeping, and is to be cleared."""
        sequence.running = False
        if not self._on or sequence.computed < self._least:
            self._all[sequence.number] = KVSequence(sequence.number)
            return False
        sequence.ids = ids
        sequence.n_prompt = min(sequence.n_prompt, sequence.computed)
        sequence.used = next(self._now)
        return True

    def undo(self, number: int, n: int) -> int:
        """Forget the last `n` tokens of a sequence, which were not computed; returns how many it holds."""
        sequence = self._all[number]
        sequence.computed -= n
        return sequence.computed

    def clear(self) -> None:
        """Forget everything, as the context was cleared."""
        for sequence in self._all:
            sequence.running = False
        self._all = [KVSequence(number) for number in range(len(self._all))]

    def _shared(self, ids: bytes, key: str | None, other: KVSequence) -> int:
        """Tokens that a prompt shares with a sequence; a prompt's last token is always computed."""
        if not self._on or key != other.key:
            return 0
        shared = max(0, min(common_length(ids, other.ids), len(ids) // _TOKEN_BYTES - 1))
        if self._piece is None:
            return shared
        return min(shared, other.n_prompt) // self._piece * self._piece

    def _choose(self, source: KVSequence, ready: list[int]) -> SequenceChoice:
        free = [one for one in self._all if not one.running]
        target = min(free, key=lambda one: self._cost(one, ready[one.number]))
        copies: list[tuple[int, int, int]] = []
        spare = min((one for one in free if one not in (source, target)), key=_age, default=target)
        if spare.used < target.used and self._should_move(target, ready[target.number]):
            copies.append((target.number, spare.number, target.computed))
        kept = ready[target.number]
        if ready[source.number] - kept < self._least:
            return SequenceChoice(target.number, tuple(copies), target.computed, kept)
        kept = ready[source.number]
        copies.append((source.number, target.number, kept))
        return SequenceChoice(target.number, tuple(copies), kept, kept)

    def _cost(self, one: KVSequence, ready: int) -> tuple[int, int, int, int]:
        """Orders free sequences: one that the prompt continues, then neighbours of running ones, then by age.

        Where sequences are separate, a gap in the numbers of running ones costs another reading of the weights.
        """
        beside = 0
        if self._separate:
            beside = sum(other.running for other in self._all if abs(other.number - one.number) == 1)
        return -ready if self._continues(one, ready) else 0, -beside, *_age(one)

    def _should_move(self, one: KVSequence, ready: int) -> bool:
        """Whether a resident should move instead of being overwritten; nobody may ever ask for it again."""
        return one.computed >= _MOVE_WORTH * self._share_cost and not self._continues(one, ready)

    def _continues(self, one: KVSequence, ready: int) -> bool:
        """Whether a prompt begins with that of a resident, apart from what a template puts before an answer."""
        return ready >= max(self._least, one.n_prompt - _EMPTY_REASONING)


def _age(one: KVSequence) -> tuple[int, int]:
    return one.used, one.number

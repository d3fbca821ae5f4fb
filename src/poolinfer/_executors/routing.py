"""Which lane a call goes to: one that has seen its beginning, unless that lane has many more calls than another.

Which prefixes a lane keeps, only the lane knows, and it may be in another process. But prompts that begin with the
same tokens begin with the same text. So the executor remembers the texts that it gave to each lane, as hashes.

The jobs of one call with `n` have the same prompt, and their group's number says so. They go to one lane as long as
it has room: a lane computes their prompt once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from .._data.requests import Chat, Raw, Request

#: Where the blocks of a text end, in characters. They are short at its start, so that a chat of a few short turns
#: finds its lane again.
_ENDS = (*range(64, 1024, 64), *range(1024, 16 * 1024 + 1, 256))
_REMEMBERED = 8192


class RoutedLane(Protocol):
    """What routing needs to know of a lane: the seats of both executors are such."""

    @property
    def load(self) -> int:
        """How many calls it has."""
        ...

    @property
    def trail(self) -> SeenPrefixes:
        """Hashes of what it was given."""
        ...


LaneT = TypeVar("LaneT", bound=RoutedLane)


class SeenPrefixes:
    """Hashes of what a lane was given, the latest few thousand."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._group = 0

    def add(self, hashes: Sequence[int], group: int = 0) -> None:
        """Note that the lane gets a job with these prefix hashes, of a group or of none."""
        self._group = group or self._group
        for prefix in hashes:
            self._seen[prefix] = None
            self._seen.move_to_end(prefix)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def has_group(self, group: int) -> bool:
        """Whether the last group of which the lane got a job was this one. Jobs of one group come in a row."""
        return self._group == group

    def match(self, hashes: Sequence[int]) -> int:
        """How many leading blocks of a call an earlier call had, too, by the call's prefix hashes."""
        for n, prefix in enumerate(hashes):
            if prefix not in self._seen:
                return n
        return len(hashes)


def prefix_hashes(request: Request) -> tuple[int, ...]:
    """The prefix hashes of a request: of its first 64 characters, of its first 128, and so on.

    Two requests that share the first n hashes begin with the same n blocks. A request without a prompt has none.
    """
    if not isinstance(request, Chat | Raw):
        return ()
    text, wanted = "", _ENDS[-1]
    for part in _texts(request):
        text += part[:wanted]
        if len(text) >= wanted:
            break
    found, so_far, begin = [], hash(request.cache_key), 0
    for end in _ENDS:
        if end > len(text):
            break
        so_far = hash((so_far, text[begin:end]))
        found.append(so_far)
        begin = end
    return tuple(found)


def choose(lanes: Sequence[LaneT], hashes: Sequence[int], slots: int, group: int = 0) -> LaneT | None:
    """The lane for a call: the one that has seen most of its beginning.

    Only lanes are considered that have at most a quarter of `slots` more calls than the lane with the fewest. To
    compute a beginning again costs less than to wait.

    Args:
        lanes: those that have room.
        hashes: the call's prefix hashes (`prefix_hashes`).
        slots: how many calls a lane runs at once.
        group: the group of the job (`Job.group`); 0 for none. A lane that has another job of it comes first.

    Returns:
        None where `lanes` is empty.
    """
    for lane in lanes:
        if group and lane.trail.has_group(group):
            return lane
    most = min((lane.load for lane in lanes), default=0) + slots // 4
    near = [lane for lane in lanes if lane.load <= most]
    return min(near, key=lambda lane: (-lane.trail.match(hashes), lane.load), default=None)


def _texts(request: Chat | Raw) -> Iterator[str]:
    """The texts of a request, roughly in the order in which they become tokens."""
    if isinstance(request, Raw):
        yield request.prompt
        return
    if request.tools:
        yield repr(request.tools)
    for message in request.prompt if isinstance(request.prompt, list | tuple) else ():
        for value in message.values() if isinstance(message, Mapping) else (message,):
            yield value if isinstance(value, str) else repr(value)
            yield "\0"

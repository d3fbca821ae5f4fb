"""Which lane a call goes to: one that has seen its beginning, unless it has much more to do than another.

What a lane holds is its own affair, and in another process. But calls that begin alike have begun alike before
they became tokens, so a lane is known by the hashes of the texts that it was given, block by block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from .._data.requests import Chat, Embed, Raw, Request

_BLOCK = 256
_MOST_BLOCKS = 64
_REMEMBERED = 4096


class RoutedLane(Protocol):
    """What routing needs to know of a lane."""

    @property
    def load(self) -> int:
        """The calls that it has."""
        ...

    @property
    def trail(self) -> Trail:
        """What it was given."""
        ...


LaneT = TypeVar("LaneT", bound=RoutedLane)


class Trail:
    """The hashes of what a lane was given, the latest few thousand."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def add(self, path: Sequence[int]) -> None:
        """The lane gets a call with this path."""
        for step in path:
            self._seen[step] = None
            self._seen.move_to_end(step)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def match(self, path: Sequence[int]) -> int:
        """How many blocks of a path it has been along."""
        for n, step in enumerate(path):
            if step not in self._seen:
                return n
        return len(path)


def path(request: Request) -> tuple[int, ...]:
    """A hash for each block of 256 characters, of all up to its end; equal ones mean equal beginnings."""
    if isinstance(request, Embed):
        return ()
    text, wanted = "", _BLOCK * _MOST_BLOCKS
    for part in _texts(request):
        text += part[:wanted]
        if len(text) >= wanted:
            break
    found, so_far = [], hash(request.cache_key)
    for end in range(_BLOCK, min(len(text), wanted) + 1, _BLOCK):
        so_far = hash((so_far, text[end - _BLOCK : end]))
        found.append(so_far)
    return tuple(found)


def choose(lanes: Sequence[LaneT], steps: Sequence[int], slots: int) -> LaneT | None:
    """The lane for a call: the one that knows most of it, of those that have hardly more to do than any.

    Hardly more is a quarter of `slots`. A lane that computes a beginning again costs less than one that waits.
    """
    most = min((lane.load for lane in lanes), default=0) + slots // 4
    near = [lane for lane in lanes if lane.load <= most]
    return min(near, key=lambda lane: (-lane.trail.match(steps), lane.load), default=None)


def _texts(request: Chat | Raw) -> Iterator[str]:
    """The parts of a request in the order in which they become tokens, more or less."""
    if isinstance(request, Raw):
        yield request.prompt
        return
    if request.tools:
        yield repr(request.tools)
    for message in request.prompt if isinstance(request.prompt, list | tuple) else ():
        for value in message.values() if isinstance(message, Mapping) else (message,):
            yield value if isinstance(value, str) else repr(value)
            yield "\0"

"""Splitting a stream of text at the first of some strings, wherever the stream is cut into pieces.

An Aho-Corasick automaton reads each character once. The depth of its state is the length of the longest end of the
text with which some string begins: exactly what must be held back, and nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Automaton:
    """The strings to look for; immutable, and shared by any number of `Finder`s.

    Args:
        strings: what to look for.
        longest: whether the longest of the strings that start together is found; otherwise the shortest is.

    Attributes:
        depth: of each state, how many characters must be held back.
        match: of each state, the length of the longest string that ends there, or 0.
        leaf: of each state, whether no string goes on from there.
    """

    def __init__(self, strings: Iterable[str], *, longest: bool = False) -> None:
        self._longest = longest
        self._next: list[dict[str, int]] = [{}]
        self._fall: list[int] = [0]
        self.depth: list[int] = [0]
        self.match: list[int] = [0]
        for string in strings:
            self._add(string)
        self._link()
        self.leaf = [not following for following in self._next]

    def __bool__(self) -> bool:
        return len(self.depth) > 1

    def _add(self, string: str) -> None:
        """Add the states of one string."""
        state = 0
        for char in string:
            # Where one string begins with another, the shorter always completes first. If that one is wanted,
            # the longer one needs no states.
            if self.match[state] and not self._longest:
                return
            state = self._next[state].setdefault(char, len(self.depth))
            if state == len(self.depth):
                self._next.append({})
                self._fall.append(0)
                self.depth.append(0)
                self.match.append(0)
        if string:
            self.match[state] = len(string)
            if not self._longest:
                self._next[state] = {}

    def _link(self) -> None:
        """Find out, state by state, where to go on when no string goes on with the next character."""
        waiting = deque([0])
        while waiting:
            state = waiting.popleft()
            for char, child in self._next[state].items():
                if state:
                    self._fall[child] = self.step(self._fall[state], char)
                self.depth[child] = self.depth[state] + 1
                self.match[child] = self.match[child] or self.match[self._fall[child]]
                waiting.append(child)

    def step(self, state: int, char: str) -> int:
        """The state after one more character."""
        while state and char not in self._next[state]:
            state = self._fall[state]
        return self._next[state].get(char, 0)


class Finder:
    """Passes a stream on up to the first string found.

    The string that starts earliest wins; of those that start together, the automaton says which.

    Attributes:
        found: whether a string was met; what `feed` returned until then is all that stands before it.
        string: the string that was met.
        rest: what followed the string in the piece that completed it.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held = ""
        self._hit: int | None = None
        self._end = 0
        self.found = False
        self.string = self.rest = ""

    def feed(self, text: str) -> str:
        """Take the next piece; what can be passed on now. What a string may begin with is held back."""
        if not self._automaton:
            return text
        depth, match, step = self._automaton.depth, self._automaton.match, self._automaton.step
        leaf = self._automaton.leaf
        state, held = self._state, self._held + text
        for end, char in enumerate(text, len(self._held) + 1):
            state = step(state, char)
            if match[state] and (self._hit is None or end - match[state] <= self._hit):
                self._hit, self._end = end - match[state], end
            # A string found is final when no other that started earlier, or goes on from there, can complete.
            if self._hit is not None and end - depth[state] + leaf[state] > self._hit:
                return self._stop(held)
        return self._pass(held, state)

    def finish(self) -> str:
        """What was held back, now that nothing follows (`found` may still become true)."""
        if self._hit is not None:
            return self._stop(self._held)
        held, self._held, self._state = self._held, "", 0
        return held

    def _pass(self, held: str, state: int) -> str:
        """Pass on all of the text but the end with which a string may begin."""
        cut = len(held) - self._automaton.depth[state]
        if self._hit is not None:
            self._hit -= cut
            self._end -= cut
        self._state, self._held = state, held[cut:]
        return held[:cut]

    def _stop(self, held: str) -> str:
        """Pass on what stands before the string that was found."""
        shown, self.string, self.rest = held[: self._hit], held[self._hit : self._end], held[self._end :]
        self.found, self._held, self._hit = True, "", None
        return shown

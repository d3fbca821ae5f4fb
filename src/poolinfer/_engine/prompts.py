"""From messages to tokens: the chat template, and tokens that no text of a user can forge.

A template glues trusted text (``<|im_start|>``) and strings from anywhere into one string. So before
rendering, each string is *defused*: a private-use character, the mark, is put into every spelling of a
control token, and where the string could become one together with its neighbours. Spellings found after
rendering are then the template's own; the text is cut at the marks that do break a spelling, and all
marks vanish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

from .._errors import InvalidRequest
from .base import Engine
from .size import check_size
from .spellings import Spellings
from .template import ChatTemplate, thaw

#: Roles that a template may build into control tokens, and of these the ones whose markers count.
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})
TRUSTED = frozenset({"system", "developer", "assistant"})

_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd]")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt ready to compute.

    Attributes:
        tokens: its token ids.
        reasoning_open: whether it ends inside an open ``<think>`` block.
    """

    tokens: list[int]
    reasoning_open: bool = False


class Prompter:
    """Turns requests into tokens for one engine; thread-safe.

    Attributes:
        engine: what tokenizes.
    """

    def __init__(self, engine: Engine, template: str | None = None, *, n_ctx: int | None = None) -> None:
        """A template given here is used instead of the model's own; what cannot fit `n_ctx` tokens is refused."""
        self.engine = engine
        self._n_ctx = n_ctx
        info = engine.info
        source = info.chat_template if template is None else template
        self._template = None if source is None else ChatTemplate(source, info.bos, info.eos)
        self._control = Spellings(info.control)
        self._markers = Spellings((*info.control, *info.markers))
        self._private = set(_PRIVATE.findall("".join((source or "", *info.control, *info.markers))))
        self._ids: dict[str, _Special] = {}

    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Prepared:
        """Tokens of a chat, in which control tokens come from the template only.

        Raises:
            InvalidRequest: there is no chat template, or it refuses these messages, or they are too long.
        """
        if self._template is None:
            raise InvalidRequest(
                "this model has no chat template; pass chat_template= to Model.load, or use raw",
                field="prompt",
            )
        mark = self._mark(messages, tools)
        safe_tools = thaw(tools, partial(self._markers.defuse, mark=mark))
        rendered = self._template.render([self._message(m, mark) for m in messages], safe_tools)
        self._check_size(rendered)
        tokens = self._assemble(rendered, mark)
        if tokens[: len(self._bos)] != self._bos:
            tokens = self._bos + tokens
        return Prepared(tokens, rendered.rstrip().endswith("<think>"))

    def raw(self, text: str, parse_special: bool) -> Prepared:
        """Tokens of a text as it is, with what the model wants around it.

        Raises:
            InvalidRequest: it is too long.
        """
        self._check_size(text)
        return Prepared(self.engine.tokenize(text, add_special=True, parse_special=parse_special))

    def _check_size(self, text: str) -> None:
        if self._n_ctx is not None:
            check_size("prompt", text, self.engine, self._n_ctx)

    @cached_property
    def _bos(self) -> list[int]:
        """What the engine puts before any text, if that is its beginning-of-text token."""
        text = self.engine.info.bos
        bos = self.engine.tokenize(text, add_special=False, parse_special=True) if text else []
        around = self.engine.tokenize("", add_special=True, parse_special=False)
        return bos if bos == around[: len(bos)] else []

    def _mark(self, *data: object) -> str:
        """A character that occurs nowhere in the data, the template or the tokens."""
        used = set(self._private)

        def note(text: str) -> str:
            used.update(_PRIVATE.findall(text))
            return text

        thaw(data, note)
        for code in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE)):
            if chr(code) not in used:
                return chr(code)
        raise InvalidRequest("the messages use every private-use character there is", field="prompt")

    def _message(self, message: Mapping[str, Any], mark: str) -> dict[str, Any]:
        """A message with its strings defused; only a known role stays as it is."""
        role = message.get("role")
        spellings = self._control if role in TRUSTED else self._markers
        fields = {key: value for key, value in message.items() if key != "role" or role not in ROLES}
        safe = thaw(fields, partial(spellings.defuse, mark=mark, inner=True))
        return {**({"role": role} if role in ROLES else {}), **safe}

    def _assemble(self, rendered: str, mark: str) -> list[int]:
        tokens: list[int] = []
        end, strip = 0, False
        for match in self._control.pattern.finditer(rendered):
            special = self._special(match.group())
            tokens += self._plain(rendered[end : match.start()], mark, strip, special.strips_before)
            tokens += special.ids
            end, strip = match.end(), special.strips_after
        return tokens + self._plain(rendered[end:], mark, strip, False)

    def _plain(self, text: str, mark: str, strip_start: bool, strip_end: bool) -> list[int]:
        """Tokens of a text between control tokens."""
        # Tokenizers that put a space before a text (SentencePiece) do so after each control token, as
        # they do in one piece; a text cut at a mark gets one there as well, which changes nothing else.
        parts = self._markers.cut(text, mark)
        if strip_start:
            parts[0] = parts[0].lstrip()
        if strip_end:
            parts[-1] = parts[-1].rstrip()
        tokenize = partial(self.engine.tokenize, add_special=False, parse_special=False)
        return [token for part in parts if part for token in tokenize(part)]

    def _special(self, spelling: str) -> _Special:
        known = self._ids.get(spelling)
        if known is None:
            tokenize = partial(self.engine.tokenize, add_special=False, parse_special=True)
            ids = tokenize(spelling)
            # Some models' control tokens swallow the whitespace beside them (Phi-3).
            before, after = tokenize("\n" + spelling) == ids, tokenize(spelling + "\n") == ids
            known = self._ids[spelling] = _Special(ids, before, after)
        return known


@dataclass(frozen=True, slots=True)
class _Special:
    """The ids of a control token, and whether it strips whitespace beside it."""

    ids: list[int]
    strips_before: bool
    strips_after: bool

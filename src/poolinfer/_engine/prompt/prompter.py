"""From messages to tokens: the chat template, and tokens that no text of a user can forge.

A template joins its own text (``<|im_start|>``) and texts from anywhere into one. Of each character it is known who
wrote it (see `origin`). So a spelling becomes a control token only where the template itself wrote all of it. All
other text is tokenized as text, and cut where it spells a token that it may not become.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from ..._data.errors import CallCancelled, InvalidRequest
from ..._data.requests import Reasoning
from ..text.formats import Formats, MarkedFormats, marked
from ..text.reasoning_format import THINK
from ..tokenizer import Tokenizer
from .chat_template import ChatTemplate
from .formats.described_tools import described
from .formats.learning import learn_formats
from .formats.reasoning_setting import switch_variables
from .sandbox.authored_text import cut
from .template_render import TemplateRender, opens_reasoning
from .text_size import check_size
from .token_spellings import Spellings


@dataclass(frozen=True, slots=True)
class LearnedFormats:
    """The formats of a chat template in one vocabulary.

    Attributes:
        formats: how the model spells reasoning and tool calls.
        marked: these formats with a character for each control token.
        closing: the tokens that close a block of reasoning, and lead to the answer.
    """

    formats: Formats = field(default_factory=Formats)
    marked: MarkedFormats = field(default_factory=MarkedFormats)
    closing: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt ready to compute.

    Attributes:
        tokens: the prompt's token ids.
        reasoning_open: whether the prompt ends inside an open block of reasoning.
        learned: how the model spells reasoning and tool calls.
        text: the prompt as text, where a chat template made it.
    """

    tokens: list[int]
    reasoning_open: bool = False
    learned: LearnedFormats = field(default_factory=LearnedFormats)
    text: str = ""


class Prompter:
    """Turns requests into tokens of one vocabulary; thread-safe."""

    def __init__(
        self, tokenizer: Tokenizer, template: str | None = None, *, n_ctx: int | None = None
    ) -> None:
        """A template given here is used instead of the model's own; what cannot fit `n_ctx` tokens is refused."""
        self._tokenizer = tokenizer
        self._n_ctx = n_ctx
        info = tokenizer.info
        source = info.chat_template if template is None else template
        named = info.named_templates if template is None else {}
        self._template = None if source is None else ChatTemplate(source, info.bos, info.eos)
        self._named = {
            name: ChatTemplate(named[name], info.bos, info.eos)
            for name in ("tool_use", "rag")
            if name in named
        }
        self._control = Spellings(info.control, trusted=False)
        self._user_defined = Spellings(info.markers, trusted=True)
        self._known: dict[str, _ControlToken] = {}
        self._learned: dict[tuple[ChatTemplate, bool], LearnedFormats] = {}
        self._lock = threading.Lock()

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        variables: Mapping[str, Any] = MappingProxyType({}),
        reasoning: Reasoning | None = None,
        continue_final: bool = False,
        add_generation_prompt: bool = True,
        stop: Callable[[], bool] | None = None,
    ) -> PreparedPrompt:
        """Tokens of a chat, in which control tokens come from the template only.

        Args:
            messages: the turns, as `poolinfer._checks.normalize` makes them.
            tools: the tools that are offered.
            variables: further variables for the template by their names; they go before those of the model.
            reasoning: whether the model is to reason, or how much; None leaves that to the template.
            continue_final: whether the last turn, an answer, is continued.
            add_generation_prompt: whether the prompt ends where the answer begins.
            stop: is asked every few milliseconds whether the call was given up.

        Raises:
            InvalidRequest: there is no chat template, or it refuses these messages, or does too much with them,
                or they are too long, or it has no such switch of reasoning.
            CallCancelled: `stop` said so.
        """
        variables = {**self._tokenizer.info.template_variables, **variables}
        template = self.template_for(tools, variables)
        if template is None:
            raise InvalidRequest(
                "this model has no chat template; pass chat_template= to Model.load, or use raw",
                field="prompt",
            )
        learned = self._learn(template, tools=bool(tools))
        if learned.formats.tools is not None:
            messages = described(messages, tools, learned.formats.tools)
        spelled = learned.formats.reasoning or THINK
        rendered = template.render(
            messages,
            tools,
            variables={**switch_variables(reasoning, spelled), **variables},
            continue_final=continue_final,
            add_generation_prompt=add_generation_prompt,
            stop=stop,
        )
        self._check_size(rendered)
        tokens = self.assembled(rendered, stop or _never)
        if tokens[: len(self._bos)] != self._bos:
            tokens = self._bos + tokens
        opened = opens_reasoning(rendered, spelled, continued=continue_final)
        return PreparedPrompt(tokens, opened, learned, rendered)

    def _learn(self, template: ChatTemplate, *, tools: bool) -> LearnedFormats:
        """The formats of a template, learned when it is first used, and first used with tools."""
        with self._lock:
            found = self._learned.get((template, tools))
            if found is None:
                formats = learn_formats(TemplateRender(template), tools=tools)
                tokens = {
                    text: self._control_token(text).ids for text in self._control.within(formats.texts())
                }
                single = {text: ids[0] for text, ids in tokens.items() if len(ids) == 1}
                closing = formats.reasoning.closing if formats.reasoning else ""
                found = LearnedFormats(formats, marked(formats, single), self._parsed(closing))
                self._learned[template, tools] = found
            return found

    def template_for(
        self, tools: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
    ) -> ChatTemplate | None:
        """The template of a chat: ``tool_use`` where tools are offered, ``rag`` with documents, or the default.

        A model may lack any of them; the default is used in place of the others.
        """
        name = "tool_use" if tools else "rag" if variables.get("documents") else ""
        return self._named.get(name, self._template)

    def raw(self, text: str, parse_special: bool) -> PreparedPrompt:
        """Tokens of a text as it is, with what the model wants around it.

        Raises:
            InvalidRequest: the text is too long.
        """
        self._check_size(text)
        return PreparedPrompt(self._tokenizer.tokenize(text, add_special=True, parse_special=parse_special))

    def fill_in(
        self,
        prefix: str,
        suffix: str,
        *,
        suffix_first: bool,
        parse_special: bool,
        stop: Callable[[], bool] | None = None,
    ) -> PreparedPrompt:
        """Tokens with which a model fills the gap between two texts, in the orders of llama.cpp's server.

        Args:
            prefix: the text before the gap; may be empty.
            suffix: the text after it; may be empty.
            suffix_first: whether the model sees the suffix first.
            parse_special: whether control tokens spelled in the texts count as such.
            stop: asked every few milliseconds whether the call was given up.

        Raises:
            InvalidRequest: the model has not learned to fill gaps, or a text is too long.
            CallCancelled: `stop` said so.
        """
        marks = self._tokenizer.info.fill_in
        if marks is None:
            raise InvalidRequest(
                "suffix: this model has no tokens to fill in a gap with; leave it out, or use a model for code",
                field="suffix",
            )
        parts = []
        for name, text, mark in (("prompt", prefix, marks.prefix), ("suffix", suffix, marks.suffix)):
            self._check_size(text, name)
            parts.append([mark, *self._gap_text(text, parse_special, stop or _never)])
        first, second = reversed(parts) if suffix_first else parts
        return PreparedPrompt([*self._bos, *first, *second, marks.middle])

    def _gap_text(self, text: str, parse_special: bool, stop: Callable[[], bool]) -> list[int]:
        if parse_special:
            return self._tokenizer.tokenize(text, add_special=False, parse_special=True)
        return self._plain(text, False, False, stop)

    def _check_size(self, text: str, field: str = "prompt") -> None:
        if self._n_ctx is not None:
            check_size(field, text, self._tokenizer, self._n_ctx)

    @cached_property
    def _bos(self) -> list[int]:
        """What the tokenizer puts before any text, if that is its beginning-of-text token."""
        text = self._tokenizer.info.bos
        bos = self._tokenizer.tokenize(text, add_special=False, parse_special=True) if text else []
        around = self._tokenizer.tokenize("", add_special=True, parse_special=False)
        return bos if bos == around[: len(bos)] else []

    def assembled(self, rendered: str, stop: Callable[[], bool]) -> list[int]:
        """Tokens of a rendered prompt: control tokens that the template meant, and texts between them."""
        tokens: list[int] = []
        end, strip = 0, False
        for match in self._control.meant(rendered):
            token = self._control_token(match.group())
            text = cut(rendered, end, match.start())
            tokens += self._plain(text, strip, token.strips_before, stop)
            tokens += token.ids
            end, strip = match.end(), token.strips_after
        return tokens + self._plain(cut(rendered, end, None), strip, False, stop)

    def _plain(self, text: str, strip_start: bool, strip_end: bool, stop: Callable[[], bool]) -> list[int]:
        """Tokens of a text between control tokens."""
        control, user_defined = set(self._control.forged(text)), set(self._user_defined.forged(text))
        if not user_defined:
            # With parse_special=False llama.cpp makes no control tokens, but for a few vocabularies.
            tokens = self._pieces(text, (), strip_start, strip_end, stop)
            if not control or self._tokenizer.info.control_ids.isdisjoint(tokens):
                return tokens
        # Tokenizers that put a space before a text (SentencePiece) put one before each piece.
        return self._pieces(text, control | user_defined, strip_start, strip_end, stop)

    def _pieces(
        self, text: str, cuts: Iterable[int], strip_start: bool, strip_end: bool, stop: Callable[[], bool]
    ) -> list[int]:
        """Tokens of a text that is cut into pieces at some of its characters."""
        parts = [text[a:b] for a, b in pairwise((0, *sorted(cuts), len(text)))]
        if strip_start:
            parts[0] = parts[0].lstrip()
        if strip_end:
            parts[-1] = parts[-1].rstrip()
        tokens: list[int] = []
        for part in filter(None, parts):
            if stop():
                raise CallCancelled("the call ended while its prompt was tokenized")
            tokens += self._tokenizer.tokenize(part, add_special=False, parse_special=False)
        return tokens

    def _control_token(self, spelling: str) -> _ControlToken:
        """The control token of a spelling, found out once for each."""
        known = self._known.get(spelling)
        if known is None:
            ids = self._parsed(spelling)
            # Some models' control tokens swallow the whitespace beside them (Phi-3).
            before, after = self._parsed("\n" + spelling) == ids, self._parsed(spelling + "\n") == ids
            known = self._known[spelling] = _ControlToken(ids, before, after)
        return known

    def _parsed(self, spelling: str) -> list[int]:
        return self._tokenizer.tokenize(spelling, add_special=False, parse_special=True)


@dataclass(frozen=True, slots=True)
class _ControlToken:
    """A control token.

    Attributes:
        ids: the ids of its spelling.
        strips_before: whether it swallows whitespace before it.
        strips_after: whether it swallows whitespace after it.
    """

    ids: list[int]
    strips_before: bool
    strips_after: bool


def _never() -> bool:
    return False

"""What a caller asks for. `Chat` and `Raw` are here, and `Request`, which names every kind: frozen plain data.

The ``*Options`` typed dicts name the same fields, for the ``**options`` of calls. Each class explains all of its
fields, inherited ones too, so that ``help(Chat)`` shows them. Tests compare all of these. Values are checked when a
request is submitted, by the bounds in `poolinfer._checks.limits`. None stands for the default in every field that
has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .constraint import Constraint
from .option_names import options_of_class
from .prompt_builder import ChatInput
from .request_fields import RequestFields, RequestOptions
from .text_requests import Embed, Rerank
from .token_requests import ApplyTemplate, Detokenize, Tokenize

#: Numbers to add to logits, by token id or by text.
LogitBias: TypeAlias = Mapping[int, float] | Mapping[str, float] | Mapping[int | str, float]
#: Data that an answer is to be: a type, a JSON schema, or OpenAI's dicts; a `Constraint` in a checked request.
ResponseFormat: TypeAlias = Constraint | Mapping[str, Any] | type[Any] | Any
#: Whether tools are offered, and whether one must be called: a word, or OpenAI's dict that names a tool.
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | Mapping[str, Any]
#: Whether a model reasons before it answers, or how much it does.
Reasoning: TypeAlias = bool | Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(RequestFields):
    """Fields of requests that generate text; `Chat` and `Raw` explain them."""

    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    temperature: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    mirostat: Literal[0, 1, 2] | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    repeat_last_n: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: str | Sequence[str] | None = None
    seed: int | None = None
    stop: str | Sequence[str] = ()
    logit_bias: LogitBias | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    n: int = 1
    cache_key: str | None = None
    response_format: ResponseFormat | None = None
    regex: str | None = None
    choices: Sequence[str] | None = None
    grammar: str | None = None
    strict: bool = True

    @property
    def constraint(self) -> Constraint | None:
        """What the answer is held to, once the request was checked; `regex` and the like are empty then."""
        return self.response_format if isinstance(self.response_format, Constraint) else None


@options_of_class
@dataclass(frozen=True, slots=True)
class Chat(Generation):
    """A chat turn to answer, through the model's chat template.

    Sampling options that are None have the model's own defaults, or else llama.cpp's (`ModelInfo.sampling`).

    Attributes:
        prompt: text of one user turn, OpenAI-shaped messages, or a `Prompt`.
        tools: OpenAI-shaped function tools that the model may call.
        tool_choice: ``"auto"`` offers the tools, ``"none"`` hides them, and ``"required"`` makes the model call at
            least one. ``{"type": "function", "function": {"name": ...}}`` makes it call that one.
        parallel_tool_calls: whether one answer may call several tools; if not, it ends after its first call.
        reasoning: whether the model reasons before it answers, or how much it does: True, False, ``"low"``,
            ``"medium"`` or ``"high"``. None leaves that to the model's chat template. What the model has no switch
            for is refused, but True where it reasons anyway, and False where it never does.
        reasoning_budget: most tokens of reasoning; then its block is closed, and the model goes on with the answer.
            0 for none, None for as many as the model wants.
        chat_template_kwargs: variables for the chat template by their names, as JSON has values (for example
            ``{"enable_thinking": False}``, or ``documents``). They go before those of `Model.load`.
        continue_final_message: whether the last message, an assistant message, is continued instead of answered.
            The answer then holds only what is new.
        max_tokens: most tokens to generate; None for as many as the context holds.
        min_tokens: tokens before which the model cannot end its answer, those of its reasoning included. A `stop`
            text, or a constraint that allows nothing more, ends it at any time.
        ignore_eos: whether the model cannot end its answer at all, so that it goes on until `max_tokens`.
        temperature: 0 picks the most likely token; higher is more varied.
        dynatemp_range: how far the temperature goes up where the model is unsure, and down where it is sure; 0 for
            not at all.
        dynatemp_exponent: how the temperature follows the model's doubt (the entropy); 1 for in proportion.
        top_p: nucleus sampling: smallest set of tokens whose probabilities reach this sum.
        top_k: consider only this many tokens; 0 for all.
        min_p: drop tokens less likely than this share of the most likely one.
        typical_p: locally typical sampling: tokens that surprise about as much as the text does on average, until
            their probabilities reach this sum; 1 for all.
        top_n_sigma: drop tokens whose logits are more standard deviations than this below the highest; 0 for none.
        xtc_probability: how often all but the least likely of the tokens above `xtc_threshold` are dropped.
        xtc_threshold: probability from which on `xtc_probability` drops tokens.
        mirostat: the version of Mirostat, 1 or 2, which keeps the surprise of tokens near `mirostat_tau`; 0: none.
            It takes the place of `top_k`, `top_p` and the other options that drop tokens.
        mirostat_tau: surprise that mirostat aims at, in bits.
        mirostat_eta: how fast mirostat follows what it sees.
        repeat_last_n: tokens of the answer that the three penalties look at; -1 for all, 0 for none.
        repeat_penalty: divides the logits of recent tokens; 1 for none.
        presence_penalty: subtracted once from the logits of recent tokens.
        frequency_penalty: subtracted per use from the logits of recent tokens.
        dry_multiplier: how much DRY lowers the logits of tokens that would go on with a repetition; 0 for none.
        dry_base: by which factor this grows with each token of the repetition.
        dry_allowed_length: tokens that may be repeated without being lowered.
        dry_penalty_last_n: tokens of the answer in which DRY looks for repetitions; -1 for all, 0 for none.
        dry_sequence_breakers: text or texts across which DRY sees no repetition.
        seed: seed of the sampler; None for another one in each call.
        stop: text or texts at which the answer ends; they are no part of the answer.
        logit_bias: numbers to add to logits, by token id (an int, or its digits as a str, as JSON has them), or by
            text, for all tokens of the text.
        logprobs: whether to return each token's log probability.
        top_logprobs: how many alternatives to return beside each token (implies ``logprobs``).
        n: how many answers to give (`Response.choices`), of one prompt that is computed once. With a `seed`, answer
            i is the one that ``seed + i`` gives alone.
        cache_key: calls with the same key reuse what their prompts have in common, and so do calls without a key;
            others do not. Give each tenant a key of its own.
        response_format: what data the answer is to be, as JSON: a dataclass, a TypedDict, a pydantic model or
            another type, a JSON schema, or OpenAI's dicts of this name. `Response.parsed` is that data.
        regex: a regular expression that the whole answer is to match.
        choices: texts of which the answer is to be one.
        grammar: a grammar that the answer is to follow: Lark's, or GBNF, which has a rule ``root ::=``.
        strict: whether to refuse a schema with keywords that cannot be enforced; False ignores these keywords.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    prompt: ChatInput
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning: Reasoning | None = None
    reasoning_budget: int | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    continue_final_message: bool = False


@options_of_class
@dataclass(frozen=True, slots=True)
class Raw(Generation):
    """A text to continue, as it is, without a template.

    Sampling options that are None have the model's own defaults, or else llama.cpp's (`ModelInfo.sampling`).

    Attributes:
        prompt: the text to continue.
        parse_special: whether control tokens spelled in the text (``<|im_end|>``) count as such. Leave
            it False for text from users.
        suffix: what is to follow the answer, so that the model fills the gap between prompt and suffix; None for no
            suffix. Needs a model that has learned to fill in (`Raw.prompt` may be empty then).
        suffix_first: whether the model sees the suffix before the prompt, as Codestral has learned it.
        prompt_logprobs: whether to return the log probability of each token of the prompt. `max_tokens` may be 0.
        prompt_logprobs_start: characters at the start of the prompt whose tokens get none; they may be reused, and
            need not be computed.
        echo: whether the text of the response begins with the prompt, and `logprobs`, where asked for, with its
            tokens. `max_tokens` may be 0.
        max_tokens: most tokens to generate; None for as many as the context holds.
        min_tokens: tokens before which the model cannot end its answer, those of its reasoning included. A `stop`
            text, or a constraint that allows nothing more, ends it at any time.
        ignore_eos: whether the model cannot end its answer at all, so that it goes on until `max_tokens`.
        temperature: 0 picks the most likely token; higher is more varied.
        dynatemp_range: how far the temperature goes up where the model is unsure, and down where it is sure; 0 for
            not at all.
        dynatemp_exponent: how the temperature follows the model's doubt (the entropy); 1 for in proportion.
        top_p: nucleus sampling: smallest set of tokens whose probabilities reach this sum.
        top_k: consider only this many tokens; 0 for all.
        min_p: drop tokens less likely than this share of the most likely one.
        typical_p: locally typical sampling: tokens that surprise about as much as the text does on average, until
            their probabilities reach this sum; 1 for all.
        top_n_sigma: drop tokens whose logits are more standard deviations than this below the highest; 0 for none.
        xtc_probability: how often all but the least likely of the tokens above `xtc_threshold` are dropped.
        xtc_threshold: probability from which on `xtc_probability` drops tokens.
        mirostat: the version of Mirostat, 1 or 2, which keeps the surprise of tokens near `mirostat_tau`; 0: none.
            It takes the place of `top_k`, `top_p` and the other options that drop tokens.
        mirostat_tau: surprise that mirostat aims at, in bits.
        mirostat_eta: how fast mirostat follows what it sees.
        repeat_last_n: tokens of the answer that the three penalties look at; -1 for all, 0 for none.
        repeat_penalty: divides the logits of recent tokens; 1 for none.
        presence_penalty: subtracted once from the logits of recent tokens.
        frequency_penalty: subtracted per use from the logits of recent tokens.
        dry_multiplier: how much DRY lowers the logits of tokens that would go on with a repetition; 0 for none.
        dry_base: by which factor this grows with each token of the repetition.
        dry_allowed_length: tokens that may be repeated without being lowered.
        dry_penalty_last_n: tokens of the answer in which DRY looks for repetitions; -1 for all, 0 for none.
        dry_sequence_breakers: text or texts across which DRY sees no repetition.
        seed: seed of the sampler; None for another one in each call.
        stop: text or texts at which the answer ends; they are no part of the answer.
        logit_bias: numbers to add to logits, by token id (an int, or its digits as a str, as JSON has them), or by
            text, for all tokens of the text.
        logprobs: whether to return each token's log probability.
        top_logprobs: how many alternatives to return beside each token (implies ``logprobs``).
        n: how many answers to give (`Response.choices`), of one prompt that is computed once. With a `seed`, answer
            i is the one that ``seed + i`` gives alone.
        cache_key: calls with the same key reuse what their prompts have in common, and so do calls without a key;
            others do not. Give each tenant a key of its own.
        response_format: what data the answer is to be, as JSON: a dataclass, a TypedDict, a pydantic model or
            another type, a JSON schema, or OpenAI's dicts of this name. `Response.parsed` is that data.
        regex: a regular expression that the whole answer is to match.
        choices: texts of which the answer is to be one.
        grammar: a grammar that the answer is to follow: Lark's, or GBNF, which has a rule ``root ::=``.
        strict: whether to refuse a schema with keywords that cannot be enforced; False ignores these keywords.
        timeout: seconds that the call may take, waiting included; None for no bound.
        priority: calls of a higher priority are served first, those of the same priority in the order they came.
    """

    prompt: str
    parse_special: bool = False
    suffix: str | None = None
    suffix_first: bool = False
    prompt_logprobs: bool = False
    prompt_logprobs_start: int = 0
    echo: bool = False


Request: TypeAlias = Chat | Raw | Embed | Rerank | Tokenize | Detokenize | ApplyTemplate
"""What a caller may ask of a pool; works with ``isinstance``."""


def answer_type(request: Request) -> Any:
    """The type that a request's `response_format` names; None for a schema, a dict of OpenAI's, and no format."""
    wanted = request.response_format if isinstance(request, Generation) else None
    return None if isinstance(wanted, Mapping | Constraint) else wanted


class SamplingOptions(RequestOptions, total=False):
    """Options of every call that generates text; see `Chat` and `Raw`."""

    max_tokens: int | None
    min_tokens: int
    ignore_eos: bool
    temperature: float | None
    dynatemp_range: float | None
    dynatemp_exponent: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    mirostat: Literal[0, 1, 2] | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    repeat_last_n: int | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: str | Sequence[str] | None
    seed: int | None
    stop: str | Sequence[str]
    logit_bias: LogitBias | None
    logprobs: bool
    top_logprobs: int
    n: int
    cache_key: str | None
    response_format: ResponseFormat | None
    regex: str | None
    choices: Sequence[str] | None
    grammar: str | None
    strict: bool


class RawOptions(SamplingOptions, total=False):
    """Options of ``raw``; see `Raw`."""

    parse_special: bool
    suffix: str | None
    suffix_first: bool
    prompt_logprobs: bool
    prompt_logprobs_start: int
    echo: bool


class ScoreOptions(RequestOptions, total=False):
    """Options of ``score``; see `Raw`."""

    parse_special: bool
    top_logprobs: int
    cache_key: str | None


class TurnOptions(SamplingOptions, total=False):
    """Options of a turn of a session: those of ``chat``, but for its tools; see `Chat`."""

    tool_choice: ToolChoice
    parallel_tool_calls: bool
    reasoning: Reasoning | None
    reasoning_budget: int | None
    chat_template_kwargs: Mapping[str, Any] | None
    continue_final_message: bool


class ChatOptions(TurnOptions, total=False):
    """Options of ``chat``; see `Chat`."""

    tools: Sequence[Mapping[str, Any]]

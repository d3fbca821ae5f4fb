"""Every bound of what callers give, in one table, and the checks of numbers against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from .._data.errors import InvalidRequest
from .refusals import refuse, show

_Number = TypeVar("_Number", bound=float)
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound.

    Attributes:
        name: the field, option or size that it bounds.
        low: smallest value allowed.
        high: largest value allowed.
        why: the reason for the bound.
        whole: whether values must be ints.
        zero: whether 0 is allowed too, though below `low`.
        optional: whether None is allowed too.
    """

    name: str
    low: float
    high: float
    why: str
    whole: bool = True
    zero: bool = False
    optional: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is within the bound; NaN never is."""
        return self.low <= value <= self.high or (self.zero and value == 0)

    def remedy(self) -> str:
        """What a caller should give instead."""
        kind = "an int" if self.whole else "a number"
        none = "None or " if self.optional else ""
        zero = "0 or " if self.zero else ""
        return f"use {none}{zero}{kind} from {self.low:,} to {self.high:,} ({self.why})"


#: Every bound of the library, by name.
LIMITS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        # Fields of requests.
        Limit("timeout", 0, 1e7, "seconds; 0 expires at once", whole=False, optional=True),
        Limit("priority", -1000, 1000, "an order, not an amount"),
        Limit("max_tokens", 1, 1_000_000, "no context is longer; None fills it", optional=True),
        Limit("reasoning_budget", 0, 1_000_000, "tokens; no context is longer; 0 is none", optional=True),
        Limit("min_tokens", 0, 1_000_000, "no more than max_tokens"),
        Limit("temperature", 1e-3, 10, "0 is greedy; smaller ones overflow", whole=False, zero=True),
        Limit("dynatemp_range", 0, 10, "added to the temperature, and subtracted; 0 is none", whole=False),
        Limit("dynatemp_exponent", 0, 10, "a power of a share; 1 is in proportion", whole=False),
        Limit("top_p", 1e-12, 1, "a sum of probabilities", whole=False),
        Limit("top_k", 0, 1_000_000, "no vocabulary is larger; 0 is all of it"),
        Limit("min_p", 0, 1, "a share of a probability", whole=False),
        Limit("typical_p", 1e-12, 1, "a sum of probabilities; 1 is none", whole=False),
        Limit("top_n_sigma", 0, 100, "standard deviations of logits; 0 is none", whole=False),
        Limit("xtc_probability", 0, 1, "a probability; 0 is none", whole=False),
        Limit("xtc_threshold", 0, 0.5, "a probability; no two tokens have more than half", whole=False),
        Limit("mirostat", 0, 2, "a version; 0 is none"),
        Limit("mirostat_tau", 0, 100, "bits; a token of a large vocabulary has 18", whole=False),
        Limit("mirostat_eta", 0, 10, "a share of what mirostat is off by", whole=False),
        Limit("repeat_last_n", -1, 1_000_000, "tokens; -1 is all, 0 is none"),
        Limit("repeat_penalty", 0.1, 10, "a divisor of logits; 1 is none", whole=False),
        Limit("presence_penalty", -10, 10, "added to logits", whole=False),
        Limit("frequency_penalty", -10, 10, "added to logits", whole=False),
        Limit("dry_multiplier", 0, 100, "subtracted from logits; 0 is none", whole=False),
        Limit("dry_base", 1, 10, "a factor for each token that is repeated", whole=False),
        Limit("dry_allowed_length", 0, 1_000_000, "tokens"),
        Limit("dry_penalty_last_n", -1, 1_000_000, "tokens; -1 is all, 0 is none"),
        Limit("seed", 0, 2**32 - 2, "32 bits, of which llama.cpp takes the last for 'random'", optional=True),
        Limit("top_logprobs", 0, 20, "as many as OpenAI gives"),
        Limit("n", 1, 128, "answers of one call; each one takes a slot"),
        Limit("prompt_logprobs_start", 0, 4 * _MIB, "characters; no prompt has more"),
        Limit("top_n", 1, 1_000_000, "documents; None for all", optional=True),
        Limit(
            "dimensions", 1, 65_536, "numbers of a vector; the model's own width is the bound", optional=True
        ),
        # Sizes of requests.
        Limit("prompt", 1, 4 * _MIB, "bytes; more fits no context and stalls the tokenizer"),
        Limit("suffix", 0, 4 * _MIB, "bytes; it is part of what the model sees"),
        Limit("items", 0, 64 * 1024, "messages, parts, tool calls and JSON values of a request together"),
        Limit("messages", 1, 4096, "turns; templates run over all of them"),
        Limit("parts", 1, 4096, "text parts of one message"),
        Limit("tools", 0, 128, "each one costs context"),
        Limit("tools_json", 0, 256 * 1024, "bytes; they become part of the prompt"),
        Limit("arguments", 0, 256 * 1024, "bytes of a tool call's JSON text; it is decoded in one go"),
        Limit("chat_template_kwargs", 0, _MIB, "bytes; documents among them become part of the prompt"),
        Limit("depth", 0, 32, "levels of nested JSON; templates and schemas recurse"),
        Limit("stop", 0, 16, "texts; each is looked for in every piece"),
        Limit("stop_text", 1, 256, "bytes; that much text is held back while streaming"),
        Limit("dry_sequence_breakers", 0, 8, "texts; each is looked for in all of the vocabulary"),
        Limit("dry_sequence_breaker", 1, 40, "bytes; llama.cpp takes no more of it"),
        Limit("cache_key", 1, 256, "bytes; compared with those of all that is cached"),
        Limit("logit_bias", 0, 1024, "tokens; applied at every step"),
        Limit("logit_bias_token", 0, 2**31 - 1, "a token id; digits in a str are taken too"),
        Limit("logit_bias_text", 1, 256, "bytes; all of its tokens count as entries"),
        Limit("logit_bias_value", -100, 100, "added to a logit; 100 is always, -100 is never", whole=False),
        Limit(
            "schema", 2, 128 * 1024, "bytes of a JSON schema; it is compiled for the first call that has it"
        ),
        Limit("schema_depth", 0, 64, "levels of JSON in a schema; use $defs and $ref for more"),
        Limit(
            "properties",
            0,
            1000,
            "properties of one object of a schema; what they cost grows with the square",
        ),
        Limit("optional", 0, 200, "properties of one object that are not required; any may come next"),
        Limit("merged", 0, 5000, "properties that come of merging alternatives of a schema (allOf)"),
        Limit(
            "readings",
            0,
            5_000_000,
            "alternatives of a rule or schema, times references to it, times all alternatives",
        ),
        Limit("multiple", 1, 2000, "what multipleOf says in a schema; each remainder is a state"),
        Limit("regex", 1, 64 * 1024, "bytes; it is compiled for the first call that has it"),
        Limit("regex_length", 0, 250_000, "characters that a regex counts to; no context holds more"),
        Limit("choices", 1, 30_000, "texts of which the answer is one"),
        Limit("choices_text", 1, 1024 * 1024, "bytes of all choices together"),
        Limit("grammar", 1, 64 * 1024, "bytes; compiling takes time with the square of them"),
        Limit("lark", 1, 256 * 1024, "bytes of a grammar after GBNF was converted"),
        Limit("rules", 1, 2000, "rules of one grammar"),
        Limit("groups", 0, 200, "levels of groups in a grammar or regex; compilers recurse"),
        Limit("input", 1, 4096, "texts of one Embed; embed(...) makes several of more"),
        Limit("input_bytes", 1, 4 * _MIB, "bytes of one Embed; embed(...) makes several of many texts"),
        # Sessions.
        Limit("max_rounds", 1, 1000, "answers of the model in one run of a session"),
        Limit(
            "tool_timeout",
            0.001,
            1_000_000,
            "seconds that a function may take as a tool",
            whole=False,
            optional=True,
        ),
        Limit("session", 0, 64 * _MIB, "characters of a session's JSON text"),
        Limit("query", 1, 64 * 1024, "bytes; it is computed with each document"),
        Limit("documents", 1, 4096, "texts of one Rerank; rerank(...) makes several of more"),
        Limit("documents_bytes", 1, 4 * _MIB, "bytes of one Rerank; rerank(...) makes several of many texts"),
        Limit("text", 0, 4 * _MIB, "bytes to tokenize; more fits no context and stalls the tokenizer"),
        Limit("tokens", 0, 1_048_576, "token ids to detokenize; no context is longer"),
        Limit("token", 0, 2**31 - 1, "a token id"),
        # Options of pools.
        Limit("workers", 1, 256, "lanes; more than cores is waste"),
        Limit("min_workers", 1, 256, "worker processes that are always there"),
        Limit("max_workers", 1, 256, "worker processes; more than cores is waste"),
        Limit("idle_timeout", 0, 10_000_000, "seconds before a worker that is not needed ends", whole=False),
        Limit("slots", 1, 256, "sequences of one llama.cpp context"),
        Limit("threads", 1, 512, "threads of one lane; llama.cpp's own bound"),
        Limit("n_ctx", 16, 1_048_576, "tokens that one call may use"),
        Limit("n_batch", 32, 8192, "prompt rows of one engine step"),
        Limit("kv_memory", 2**10, 2**50, "bytes of a lane's context"),
        Limit("max_queue", 0, 1_000_000, "waiting calls; each costs memory"),
        Limit("latency_target", 0.001, 10, "seconds of one engine step", whole=False),
        Limit("retries", 0, 1, "a call that two workers died of is never run again"),
        Limit("max_calls", 1, 1_000_000_000, "calls before a worker process is replaced", optional=True),
        Limit(
            "max_rss",
            2**26,
            2**50,
            "bytes; a worker process without a model has nearly as many",
            optional=True,
        ),
        Limit(
            "max_age",
            1,
            1_000_000_000,
            "seconds before a worker process is replaced",
            whole=False,
            optional=True,
        ),
        Limit("n_gpu_layers", -1, 10_000, "-1 puts all layers on the GPU; no model has more than this"),
        Limit("main_gpu", 0, 255, "a GPU's number"),
        Limit("tensor_split", 1, 16, "GPUs; llama.cpp knows no more"),
        Limit("gpu_share", 0, 1_000_000, "a share; only their ratio counts", whole=False),
        Limit("lora", 0, 16, "adapters; each is computed beside the weights"),
        Limit("lora_scale", -100, 100, "a factor; 1 is as trained, 0 is none", whole=False),
        Limit("rope_freq_base", 1, 1e12, "a base of frequencies; models have 10,000 to 1e8", whole=False),
        Limit("rope_freq_scale", 1e-4, 100, "a factor of positions; 0.25 is four times as many", whole=False),
        Limit("yarn_ext_factor", 0, 100, "a share of YaRN; 1 is all of it", whole=False),
        Limit("yarn_attn_factor", 0, 100, "a factor; 1 is none", whole=False),
        Limit("yarn_beta_fast", 0, 1000, "rotations", whole=False),
        Limit("yarn_beta_slow", 0, 1000, "rotations", whole=False),
        Limit("yarn_orig_ctx", 1, 1_048_576, "tokens that the model was trained for"),
        Limit("grace", 0, 3600, "seconds before what still runs is cancelled", whole=False),
    )
}


def number(limit: str, value: object, field: str = "") -> int | float | None:
    """The value as a plain int or float, if it is within a bound.

    Args:
        limit: the row of `LIMITS` that bounds it.
        value: what the caller gave.
        field: the field, for messages; the row's name if not given.

    Raises:
        InvalidRequest: the value is of another type (a bool is no int), or out of range.
    """
    row = LIMITS[limit]
    field = field or limit
    if value is None and row.optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int if row.whole else (int, float)):
        refuse(field, value, row.remedy())
    # A subclass could compare as it likes.
    plain = int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if not row.holds(plain):
        refuse(field, value, row.remedy())
    return plain if row.whole else float(plain)


def count(limit: str, n: int, field: str = "") -> None:
    """Check how many of something there are.

    Args:
        limit: the row of `LIMITS` that bounds the number.
        n: how many there are.
        field: the field, for messages; the row's name if not given.

    Raises:
        InvalidRequest: there are too few, or too many.
    """
    row = LIMITS[limit]
    if not row.holds(n):
        field = field or limit
        wanted = f"from {row.low:,} to {row.high:,} ({row.why})"
        raise InvalidRequest(f"{field} has {n:,} items: give {wanted}", field=field)


def check_option(name: str, value: _Number) -> _Number:
    """The value of a pool's option, if it is within the bound of the option's name.

    Raises:
        InvalidRequest: the value is out of range, or there is no such option.
    """
    if name not in LIMITS:
        raise InvalidRequest(f"there is no option {show(name)}", field=name)
    number(name, value)
    return value

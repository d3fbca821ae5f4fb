"""Options as callers write them: where there is none of that name, the error says which one was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import WRAPPER_ASSIGNMENTS, wraps
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

from .errors import UnknownOption

_P = ParamSpec("_P")
_R = TypeVar("_R")
_ClassT = TypeVar("_ClassT", bound=type)

_PLAIN = frozenset((str, int, float, bool, type(None), list, tuple, dict))
_NAME = 40
_NO_USE = "leave it out; it means nothing here"

#: What other libraries call an option, and what to do here instead. The name of an option means: use that one.
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "max_completion_tokens",
            "max_new_tokens",
            "max_output_tokens",
            "max_length",
            "n_predict",
            "num_predict",
        ),
        "max_tokens",
    ),
    **dict.fromkeys(("stop_sequences", "stop_strings", "stop_words"), "stop"),
    **dict.fromkeys(("repetition_penalty", "rep_pen"), "repeat_penalty"),
    **dict.fromkeys(("messages", "message", "conversation", "text"), "prompt"),
    **dict.fromkeys(("inputs", "texts", "sentences", "documents"), "input"),
    **dict.fromkeys(("request_timeout", "deadline"), "timeout"),
    **dict.fromkeys(("prompt_cache_key", "user", "cache_salt"), "cache_key"),
    **dict.fromkeys(("n_probs", "num_logprobs"), "top_logprobs"),
    **dict.fromkeys(("n_threads", "num_threads", "n_threads_batch"), "threads"),
    **dict.fromkeys(("n_parallel", "parallel", "n_seq_max", "max_num_seqs", "concurrency"), "slots"),
    **dict.fromkeys(("n_workers", "num_workers", "processes", "replicas"), "workers"),
    **dict.fromkeys(("num_ctx", "ctx_size", "context_length", "context_size", "max_model_len"), "n_ctx"),
    **dict.fromkeys(("batch_size", "n_ubatch"), "n_batch"),
    **dict.fromkeys(("flash_attn", "flash_attention_2"), "flash_attention"),
    **dict.fromkeys(("enable_prefix_caching", "cache_prompt"), "prefix_cache"),
    **dict.fromkeys(("gpu_layers", "num_gpu_layers"), "n_gpu_layers"),
    **dict.fromkeys(("model_path", "model_file", "filename"), "path"),
    **dict.fromkeys(("template", "chat_format"), "chat_template"),
    **dict.fromkeys(("pooling_type", "pooling_mode"), "pooling"),
    **dict.fromkeys(("normalize_embeddings", "normalise"), "normalize"),
    **dict.fromkeys(("queue_size", "max_waiting"), "max_queue"),
    **dict.fromkeys(
        (
            "response_format",
            "json_schema",
            "guided_json",
            "format",
            "schema",
            "response_model",
            "output_type",
            "structured_outputs",
            "text_format",
        ),
        "response_format",
    ),
    **dict.fromkeys(("guided_regex", "pattern"), "regex"),
    **dict.fromkeys(("guided_choice", "choice"), "choices"),
    **dict.fromkeys(("guided_grammar", "gbnf", "lark", "ebnf", "grammar_text"), "grammar"),
    "functions": "tools",
    "function_call": "tool_choice",
    "use_mmap": "mmap",
    "use_mlock": "mlock",
    "special": "parse_special",
    **dict.fromkeys(
        ("stream", "on_token", "callback", "callbacks", "streamer", "streaming_callback"),
        "use stream(...), whose call is read chunk by chunk",
    ),
    **dict.fromkeys(("system", "system_prompt", "system_message"), "put a system message into prompt"),
    **dict.fromkeys(("template_kwargs", "template_vars"), "chat_template_kwargs"),
    **dict.fromkeys(("enable_thinking", "thinking", "think", "reasoning_effort"), "reasoning"),
    **dict.fromkeys(
        ("thinking_budget", "max_thinking_tokens", "max_reasoning_tokens", "reasoning_max_tokens"),
        "reasoning_budget",
    ),
    **dict.fromkeys(("continue_last_message", "prefill"), "continue_final_message"),
    "add_generation_prompt": "leave it out; an answer is always asked for, unless continue_final_message=True",
    **dict.fromkeys(
        ("extra_body", "extra_query", "extra_headers", "options"), "give what is in it by itself"
    ),
    **dict.fromkeys(("embedding", "embeddings"), "leave it out; call embed(...), which every pool has"),
    **dict.fromkeys(("penalty_last_n", "last_n_tokens_size"), "repeat_last_n"),
    **dict.fromkeys(("min_new_tokens", "min_length"), "min_tokens"),
    **dict.fromkeys(("typ_p", "typical"), "typical_p"),
    **dict.fromkeys(("cache_type_k", "kv_cache_type", "kv_cache_dtype"), "type_k"),
    "cache_type_v": "type_v",
    **dict.fromkeys(("lora_path", "adapter", "adapters", "loras"), "lora"),
    "lora_scale": "give lora a pair of path and scale",
    "lora_base": "leave it out; adapters are computed beside the weights as they are",
    "split_mode": "give main_gpu for one GPU, or tensor_split for several",
    **dict.fromkeys(("rope_scaling", "rope_type"), "rope_scaling_type"),
    "rope_frequency_base": "rope_freq_base",
    "rope_frequency_scale": "rope_freq_scale",
    "mirostat_mode": "mirostat",
    "mirostat_lr": "mirostat_eta",
    "mirostat_ent": "mirostat_tau",
    "temp": "temperature",
    "do_sample": "give temperature=0 for the most likely tokens, or a higher temperature",
    "tfs_z": "leave it out, or use min_p or typical_p; llama.cpp has it no more",
    **dict.fromkeys(
        ("penalize_nl", "penalize_newline"), "leave it out, or give logit_bias a number for a line break"
    ),
    "stream_options": "use stream(...), whose call has the usage in its result",
    **dict.fromkeys(("num_return_sequences", "num_choices", "n_cmpl"), "n"),
    "best_of": "ask for several answers with n, and choose among its choices",
    **dict.fromkeys(("input_suffix", "fim_suffix"), "suffix"),
    "spm_infill": "suffix_first",
    "logprob_start_len": "prompt_logprobs_start",
    "return_full_text": "echo",
    "model": "a pool has one model; make another pool for another one",
    **dict.fromkeys(("output_dimensionality", "truncate_dim", "output_dimension"), "dimensions"),
    **dict.fromkeys(("prompt_name", "task_type", "embedding_type"), "input_type"),
    "truncation": "truncate",
    **dict.fromkeys(("add_bos", "add_special_tokens", "add_bos_token"), "add_special"),
    **dict.fromkeys(
        ("return_documents", "return_text"), "leave it out; every result has the text of its document"
    ),
    "encoding_format": "leave it out; vectors are numbers",
    "verbose": "leave it out; poolinfer prints nothing",
    **dict.fromkeys(("store", "metadata", "service_tier"), _NO_USE),
}
#: What clients and proxies send although it changes nothing. None changes nothing either, for any name above.
_NO_CHANGE: Mapping[str, object] = {
    "stream": False,
    "best_of": 1,
    "store": False,
    "response_format": {"type": "text"},
    "encoding_format": "float",
}
_OWNERS: dict[str, frozenset[str]] = {}


def options_of(what: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a function, so that it takes options as callers write them.

    An option that the function does not have is refused with `UnknownOption`. It is left out if other libraries
    have it and its value changes nothing. A number from numpy becomes a number of Python.

    Args:
        what: what the function is called in messages.
    """

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        known = _OWNERS[what] = frozenset(inspect.signature(function).parameters) - {"self", "cls"}

        @wraps(function, assigned=(*WRAPPER_ASSIGNMENTS, "__kwdefaults__"))
        def call(*args: _P.args, **options: _P.kwargs) -> _R:
            for name, value in tuple(options.items()):
                if name not in known:
                    if not _changes_nothing(name, value):
                        refuse_option(what, name)
                    del options[name]
                elif type(value) not in _PLAIN:
                    options[name] = scalar(value)
            return function(*args, **options)

        return call

    return wrap


def options_of_class(cls: _ClassT) -> _ClassT:
    """`options_of` for a class, whose options are those of its constructor."""
    made = vars(cls)["__init__"]
    setattr(cls, "__init__", options_of(cls.__name__)(made))  # noqa: B010 (what type checkers accept)
    return cls


def refuse_option(what: str, name: str) -> None:
    """Raise `UnknownOption` for an option that something does not have, with what is closest to it."""
    # Closest matches of a long name take long to find.
    name = name[:_NAME]
    raise UnknownOption(f"{what} has no option {name!r}: {_remedy(what, name)}", field=name)


def _changes_nothing(name: str, value: object) -> bool:
    if value is None:
        return name in _ELSEWHERE
    same = _NO_CHANGE.get(name)
    return type(value) is type(same) and value == same


def _remedy(what: str, name: str) -> str:
    known = _OWNERS[what]
    hint = _ELSEWHERE.get(name, name)
    if hint in known:
        return f"use {hint}"
    owners = [owner for owner, names in _OWNERS.items() if hint in names]
    if owners:
        return f"{hint} is an option of {_join(owners)}"
    if hint != name:
        return hint
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"


def _join(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def scalar(value: object) -> object:
    """A number or bool of numpy, or of any class, as Python's int, float or bool; every other value as it is."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return bool(value)
    with suppress(ArithmeticError, ValueError, TypeError):
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            return float(value)
    return value

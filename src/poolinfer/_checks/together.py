"""Checks of what depends on several fields of a request at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .limits import LIMITS
from .refusals import refuse


def check_options_together(options: Mapping[str, Any]) -> None:
    """Refuse options of which each is acceptable alone.

    Args:
        options: those of one request, checked.

    Raises:
        InvalidRequest: nothing would be computed, or a log probability is asked for and left out.
    """
    echo, scores = options.get("echo", False), options.get("prompt_logprobs", False)
    if options.get("max_tokens") == 0:
        if not (echo or scores):
            refuse(
                "max_tokens", 0, f"{LIMITS['max_tokens'].remedy()}; 0 goes only with echo or prompt_logprobs"
            )
        if options["n"] > 1:
            refuse("n", options["n"], "use 1 with max_tokens=0, where no answer is generated")
    if options["max_tokens"] is not None and options["min_tokens"] > options["max_tokens"]:
        refuse("min_tokens", options["min_tokens"], f"use max_tokens ({options['max_tokens']}) or less")
    if echo and options["logprobs"] and options["prompt_logprobs_start"]:
        refuse(
            "prompt_logprobs_start",
            options["prompt_logprobs_start"],
            "use 0 with echo and logprobs, which list all tokens of the prompt",
        )


def check_tool_choice(choice: object, tools: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to make a model call a tool that it is not offered.

    Args:
        choice: the checked option `tool_choice`.
        tools: the checked tools.

    Raises:
        InvalidRequest: there are no tools, or none of that name.
    """
    if choice in ("auto", "none"):
        return
    if not tools:
        refuse("tool_choice", choice, "give tools, or leave it out")
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        if all(tool["function"]["name"] != name for tool in tools):
            refuse("tool_choice.function.name", name, "use the name of one of the tools")


def check_raw_together(options: Mapping[str, Any], contents: Mapping[str, Any]) -> None:
    """Refuse a prompt, a suffix and options of `Raw` of which each is acceptable alone.

    Args:
        options: those of the request, checked.
        contents: the request's prompt and suffix, checked.

    Raises:
        InvalidRequest: the prompt is empty, or none of it would have log probabilities, or there is a suffix beside
            what only a prompt can have.
    """
    prompt, start = contents["prompt"], options["prompt_logprobs_start"]
    if contents["suffix"] is None:
        if not prompt:
            refuse("prompt", prompt, "give some text")
        if start >= len(prompt):
            refuse(
                "prompt_logprobs_start", start, f"use less than the {len(prompt)} characters of the prompt"
            )
        return
    for name in ("echo", "prompt_logprobs"):
        if options[name]:
            refuse(name, True, "leave it out where there is a suffix: the model sees more than the prompt")


def check_passages(options: Mapping[str, Any], contents: Mapping[str, Any]) -> None:
    """Refuse what does not go together with passages of one document.

    Args:
        options: those of an `Embed`, checked.
        contents: the input of it, checked.

    Raises:
        InvalidRequest: there is one text, or an option that leaves out a passage or what it has of the others.
    """
    if not options["late_chunking"]:
        return
    if isinstance(contents["input"], str):
        refuse(
            "input", contents["input"], "with late_chunking, give the passages of a document as a list of str"
        )
    if options["truncate"]:
        refuse("truncate", True, "late_chunking needs every passage; leave one of the two out")
    if options["pooling"] == "cls":
        refuse("pooling", "cls", "late_chunking pools the tokens of each passage; use 'mean', 'last' or None")

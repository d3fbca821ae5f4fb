"""The contents of requests that are texts or token ids, checked."""

from __future__ import annotations

from itertools import islice

from .._data.option_names import scalar
from .budgets import ByteBudget, WorkBudget
from .limits import LIMITS, count, number
from .plain_data import nonempty, sequence

# Bytes of text whose check takes as long as that of a token id.
_BYTES_A_TOKEN = 32


def check_raw_prompt(value: object, work: WorkBudget) -> str:
    """A text to continue, as a plain str, which may be empty."""
    return ByteBudget("prompt", work).checked_text("prompt", value)


def check_suffix(value: object, work: WorkBudget) -> str | None:
    """What is to follow a text that is continued, or None."""
    return None if value is None else ByteBudget("suffix", work).checked_text("suffix", value)


def check_input(value: object, work: WorkBudget) -> str | tuple[str, ...]:
    """A text to embed, or several."""
    if isinstance(value, str):
        return nonempty("input", ByteBudget("input_bytes", work).checked_text("input", value))
    return _several("input", value, work, "use a str or a list of str")


def check_query(value: object, work: WorkBudget) -> str:
    """What documents are ranked by."""
    return nonempty("query", ByteBudget("query", work).checked_text("query", value))


def check_documents(value: object, work: WorkBudget) -> tuple[str, ...]:
    """The documents to rank."""
    return _several("documents", value, work, "use a list of str")


def check_text(value: object, work: WorkBudget) -> str:
    """A text to tokenize, which may be empty."""
    return ByteBudget("text", work).checked_text("text", value)


def check_token_ids(value: object, work: WorkBudget) -> tuple[int, ...]:
    """Token ids, of which only the model knows whether it has them."""
    found = sequence("tokens", value, "use a list of token ids")
    n = len(found)
    count("tokens", n)
    work.spend_text(n * _BYTES_A_TOKEN)
    row, kept = LIMITS["token"], tuple(islice(found, n))
    plain = all(type(token) is int for token in kept)
    if plain and row.holds(min(kept, default=0)) and row.holds(max(kept, default=0)):
        return kept
    return tuple([int(number("token", scalar(token), f"tokens[{i}]") or 0) for i, token in enumerate(kept)])


def _several(field: str, value: object, work: WorkBudget, remedy: str) -> tuple[str, ...]:
    texts = sequence(field, value, remedy)
    budget = ByteBudget(f"{field}_bytes", work)
    count(field, len(texts))
    work.spend_items(field, len(texts))
    return tuple(
        [
            nonempty(f"{field}[{i}]", budget.checked_text(f"{field}[{i}]", text))
            for i, text in enumerate(texts)
        ]
    )

"""Ask the exported model the held-out questions, greedily, and write down how it did."""

from __future__ import annotations

import argparse
import ctypes
import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

from chat import render, render_template
from questions import Question, held_out_questions

ROOM = 16
MOST_NEW_TOKENS = 200
SAFE_GAP = 1.0


class GreedyModel:
    """A GGUF model that always takes the likeliest token."""

    def __init__(self, path: Path, context: int = 1024) -> None:
        """Load the file and make a context for one sequence."""
        llama_cpp.llama_backend_init()
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        self.context = context
        self.smallest_gap = float("inf")
        model_params = llama_cpp.llama_model_default_params()
        # Repacked weights are off: the AMX path of some builds crashes on Q8_0.
        model_params.use_extra_bufts = False
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self.model:
            raise RuntimeError(f"cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_threads = context, context, 1
        params.n_threads_batch = 1
        self.ctx = llama_cpp.llama_init_from_model(self.model, params)
        if not self.ctx:
            raise RuntimeError(f"cannot make a context for {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def tokenize(self, text: str) -> list[int]:
        """Tokenise text in which special tokens may be written out."""
        raw = text.encode("utf-8")
        room = (llama_cpp.llama_token * (len(raw) + ROOM))()
        count = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), room, len(room), False, True)
        if count < 0:
            raise RuntimeError("the text has more tokens than bytes")
        return list(room[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""
        room = ctypes.create_string_buffer(64)
        size = llama_cpp.llama_token_to_piece(self.vocab, token, room, len(room), 0, True)
        return room.raw[:size]

    def _next(self, tokens: list[int]) -> int:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(array, len(tokens))
        if llama_cpp.llama_decode(self.ctx, batch) != 0:
            raise RuntimeError("decoding failed")
        logits = llama_cpp.llama_get_logits_ith(self.ctx, -1)
        second, first = heapq.nsmallest(2, range(self.vocab_size), key=lambda i: -logits[i])[::-1]
        self.smallest_gap = min(self.smallest_gap, logits[first] - logits[second])
        return first

    def generate(self, prompt: str) -> Iterator[int]:
        """Yield the answer's tokens, without the one that ends it."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.ctx), True)
        tokens = self.tokenize(prompt)
        for _ in range(min(MOST_NEW_TOKENS, self.context - len(tokens))):
            tokens = [self._next(tokens)]
            if llama_cpp.llama_vocab_is_eog(self.vocab, tokens[0]):
                return
            yield tokens[0]

    def answer(self, prompt: str) -> str:
        """Return the greedy answer to a rendered chat."""
        self.smallest_gap = float("inf")
        raw = b"".join(self.piece(token) for token in self.generate(prompt))
        return raw.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Outcome:
    """A question, the tokens of its prompt, what the model said and its closest choice."""

    question: Question
    prompt_tokens: int
    said: str
    gap: float

    @property
    def right(self) -> bool:
        """Say whether the answer is exactly the expected one."""
        return self.said == self.question.answer


def ask_all(model: GreedyModel, questions: list[Question]) -> list[Outcome]:
    """Ask every question whose prompt and answer fit in the context."""
    outcomes = []
    for question in questions:
        shown = question.messages, question.tools, question.tagged
        prompt = render_template(*shown)
        if prompt != render(*shown):
            raise ValueError("the chat template differs from the text that the training uses")
        size = len(model.tokenize(prompt))
        if size + MOST_NEW_TOKENS <= model.context:
            said = model.answer(prompt)
            outcomes.append(Outcome(question, size, said, model.smallest_gap))
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """Return a Markdown table of right answers per task."""
    lines = ["| task | right | asked |", "| --- | --- | --- |"]
    for task in dict.fromkeys(outcome.question.task for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.question.task == task]
        lines.append(f"| {task} | {sum(o.right for o in own)} | {len(own)} |")
    right = sum(outcome.right for outcome in outcomes)
    lines.append(f"| **all** | **{right}** | **{len(outcomes)}** |")
    return "\n".join(lines)


def write_card(path: Path, outcomes: list[Outcome]) -> None:
    """Put the table between the markers of the model's description."""
    first, last = "<!-- evaluation -->", "<!-- end of evaluation -->"
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition(first)
    _, found, tail = rest.partition(last)
    if not found:
        raise ValueError(f"{path} has no place for the evaluation")
    longest = max(outcome.prompt_tokens for outcome in outcomes)
    note = f"The longest prompt has {longest} tokens."
    path.write_text(f"{head}{first}\n{table(outcomes)}\n\n{note}\n{last}{tail}", encoding="utf-8")


def write_questions(path: Path, outcomes: list[Outcome]) -> None:
    """Write the questions answered exactly and without a close choice, one per line.

    Rounding differs between machines; a wide gap between the two likeliest tokens keeps it harmless.
    """
    safe = [outcome for outcome in outcomes if outcome.right and outcome.gap >= SAFE_GAP]
    right = [outcome.question.to_json() for outcome in safe]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in right)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    """Read the command line, evaluate and print."""
    here = Path(__file__).resolve().parent
    data = here.parents[1] / "src/poolinfer/data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=data / "tiny.gguf")
    parser.add_argument("--card", type=Path, default=data / "tiny.md")
    parser.add_argument("--questions", type=Path, default=here / "questions.json")
    parser.add_argument("--dry-run", action="store_true", help="print only, write nothing")
    parser.add_argument("--seed", type=int, default=2024)
    args = parser.parse_args()
    outcomes = ask_all(GreedyModel(args.model), held_out_questions(args.seed))
    for outcome in outcomes:
        if not outcome.right:
            last = outcome.question.messages[-1]["content"]
            print(f"{outcome.question.task}: {last!r}: {outcome.said!r}")
    print(table(outcomes))
    if not args.dry_run:
        write_card(args.card, outcomes)
        write_questions(args.questions, outcomes)


if __name__ == "__main__":
    main()

"""The command line: ``python -m poolinfer demo`` and ``bench``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial

from ._checks.limits import LIMITS
from ._cli.bench import ChatBurst, run_bench
from ._cli.demo import run_demo
from ._data.errors import PoolinferError
from ._data.version import __version__
from ._pool.model import demo_model

# All chats wait at once, each with a thread that reads it.
_MOST_CALLS = 1000
# More than 200,000 tokens; so many words of each of 1000 chats take 0.6 GB.
_MOST_WORDS = 100_000
# Of a number from the command line.
_MOST_DIGITS = 20
_MOST_SHOWN = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except PoolinferError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "demo":
        return run_demo(options.model, workers=options.workers, slots=options.slots)
    sizes = {field.name: getattr(options, field.name) for field in fields(ChatBurst)}
    return run_bench(options.model, ChatBurst(**sizes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m poolinfer", description="Many concurrent local-LLM calls inside a Python application."
    )
    parser.add_argument("--version", action="version", version=f"poolinfer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_demo(commands)
    _add_bench(commands)
    return parser


def _default_model() -> str:
    return os.environ.get("POOLINFER_MODEL") or demo_model()


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="16 concurrent calls on the model that ships with the package",
        description="Run 16 chat, raw and embed calls at once, from threads and from one event loop, stream one"
        " more, and print the pool's statistics. The exit status is 1 if any call failed.",
    )
    demo.add_argument(
        "--model",
        metavar="FILE",
        default=_default_model(),
        help="a GGUF file; default: $POOLINFER_MODEL, or else the tiny model in the package",
    )
    demo.add_argument("--workers", type=int, metavar="N", help="lanes (default: 1)")
    demo.add_argument("--slots", type=int, metavar="N", help="calls decoded together in a lane (default: 16)")


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="try workers x slots x threads on a model of yours",
        description="Run one burst of made-up chats on several layouts of a pool. Print what each layout reached,"
        " and the Pool(...) line of the fastest one. Run nothing else on the machine meanwhile.",
    )
    bench.add_argument(
        "model", metavar="FILE", nargs="?", default=_default_model(), help="a GGUF file; default: as for demo"
    )
    bench.add_argument(
        "--executor",
        choices=("thread", "process", "prefork"),
        default=ChatBurst().executor,
        help="where lanes run (default: %(default)s)",
    )
    for name, most, of in (
        ("calls", _MOST_CALLS, "chats at once"),
        ("words", _MOST_WORDS, "words in each"),
        ("max-tokens", int(LIMITS["max_tokens"].high), "most tokens out"),
        ("n-ctx", int(LIMITS["n_ctx"].high), "context of each, in tokens"),
    ):
        default = getattr(ChatBurst(), name.replace("-", "_"))
        bench.add_argument(
            f"--{name}",
            type=partial(_count, most),
            metavar="N",
            default=default,
            help=f"{of} (default: %(default)s)",
        )


def _count(most: int, text: str) -> int:
    # The length comes first: Python refuses to read an int of thousands of digits.
    if not text.isdecimal() or len(text) > _MOST_DIGITS or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text[:_MOST_SHOWN]!r} is not a number from 1 to {most:,}")
    return int(text)


def _main_of_process() -> int:
    """`main` for a process of its own, whose output may be an ASCII terminal, or a pipe that nobody reads."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            return main()
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        # Else the interpreter writes what is left when it ends, and fails again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    raise SystemExit(_main_of_process())

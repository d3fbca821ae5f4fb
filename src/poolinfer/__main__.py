"""The command line: ``python -m poolinfer demo`` and ``bench``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

from ._cli.bench import ChatBurst, run_bench
from ._cli.demo import run_demo
from ._data.errors import PoolinferError
from ._data.version import __version__
from ._pool.model import demo_model


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
    for name, of in (
        ("calls", "chats at once"),
        ("words", "words in each"),
        ("max-tokens", "most tokens out"),
        ("n-ctx", "context of each, in tokens"),
    ):
        default = getattr(ChatBurst(), name.replace("-", "_"))
        bench.add_argument(
            f"--{name}", type=_count, metavar="N", default=default, help=f"{of} (default: %(default)s)"
        )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())

"""The command line: ``python -m poolinfer demo``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from ._demo import run_demo
from ._errors import PoolinferError
from ._model import demo_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return run_demo(options.model, workers=options.workers, slots=options.slots)
    except PoolinferError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m poolinfer", description="Many concurrent local-LLM calls inside a Python application."
    )
    parser.add_argument("--version", action="version", version=f"poolinfer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="16 concurrent calls on the model that ships with the package",
        description="Run 16 chat, raw and embed calls at once, from threads and from one event loop, stream one"
        " more, and print the pool's statistics. The exit status is 1 if any call failed.",
    )
    demo.add_argument(
        "--model",
        metavar="FILE",
        default=os.environ.get("POOLINFER_MODEL") or demo_model(),
        help="a GGUF file; default: $POOLINFER_MODEL, or else the tiny model in the package",
    )
    demo.add_argument("--workers", type=int, metavar="N", help="lanes (default: 1)")
    demo.add_argument("--slots", type=int, metavar="N", help="calls decoded together in a lane (default: 8)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

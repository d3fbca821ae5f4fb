"""``pip install`` that says how far the compilation of llama.cpp is: ``python tools/pip_install.py -e . ..``.

pip itself is silent for as long as that takes, four minutes on two cores, or prints every line of the compiler.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator

#: What ninja and make print before each step: ``[12/345]`` and ``[ 12%]``.
_NINJA = re.compile(r"\s*\[\s*(\d+)/(\d+)\] ")
_MAKE = re.compile(r"\s*\[\s*(\d+)%\] ")
_BUILD = re.compile(r"\s*(?:Running command )?Building wheel for llama-cpp-python\b")
_EVERY = 5
_TAIL = 80


def percent(line: str) -> int | None:
    """How much of a compilation is done, if a line says so."""
    if found := _NINJA.match(line):
        done, of = map(int, found.groups())
        return 100 * done // of if of else None
    found = _MAKE.match(line)
    return int(found[1]) if found else None


def progress(lines: Iterable[str]) -> Iterator[str]:
    """What to say about pip's verbose output: that llama.cpp is being compiled, and then how far it is."""
    building, said = False, 0
    for line in lines:
        if not building and _BUILD.match(line):
            building = True
            yield "llama.cpp is being compiled, which takes a few minutes; pip keeps the result for the next time"
        done = percent(line) if building else None
        if done is not None and done >= said + _EVERY:
            said = done - done % _EVERY
            yield f"llama.cpp is being compiled: {said} %"


def main(arguments: list[str]) -> int:
    """Run pip; its exit status. What it printed last is shown only if it fails."""
    last: deque[str] = deque(maxlen=_TAIL)

    def remembered(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            last.append(line)
            yield line

    command = [sys.executable, "-m", "pip", "install", "-v", "--progress-bar", "off", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        for said in progress(remembered(pip.stdout or ())):
            print(said, flush=True)
    if pip.returncode:
        print("".join(last), end="", file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A program that uses damaged model files as a host does: `python gguf_host.py SEED FIRST STEP COUNT FOLDER`.

Every file that our parser lets pass is tried by a forked child, as pools have files tried. What passes that is
loaded and used by a second child. Both are forked from a process that has imported everything and computed nothing:
no interpreter starts for each file. The last line of output counts how far files came, and each line before it
describes one that ended its host.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from gguf_mutants import mutant

from poolinfer import Chat, Embed, Model, Pool, PoolinferError, Raw
from poolinfer._engine.llama import library, trial_child

SECONDS = 60.0
TEXT = "the hello world 012 \u00e9\u4e2d\U0001f600\0\x7f  x" * 3
SOUND, REFUSED, BROKEN = 0, 1, 2


def fork(work: Callable[[], int], last_words: Path) -> int:
    """Run something in a child.

    Returns:
        Its exit status, minus the signal that it died of, or -1000 if it never ended.
    """
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            out = os.open(last_words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + SECONDS
    pause = 0.001
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -1000
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def trial(model: Model) -> int:
    """What `trial_child.main` does."""
    trial_child._settle_in(os.getppid())
    return SOUND if trial_child.try_file(library.bindings(), model.spec) else REFUSED


def use(model: Model) -> int:
    """Ask a model for greedy and sampled text, a chat and an embedding; an error is an answer, too."""
    # It was tried just now.
    library._Library.try_first = lambda self, spec, cancelled: None  # type: ignore[method-assign]
    requests: list[Raw | Chat | Embed] = [Embed(TEXT, timeout=20)]
    if model.spec.generates:
        requests.append(Raw(TEXT, max_tokens=3, temperature=0, timeout=20))
        requests.append(
            Raw(TEXT, max_tokens=3, temperature=0.8, top_k=40, top_p=0.9, logprobs=True, timeout=20)
        )
        requests.append(Chat([{"role": "user", "content": TEXT}], max_tokens=2, timeout=20))
    try:
        with Pool(model) as pool:
            for call in [submitted for request in requests if (submitted := _submit(pool, request))]:
                try:
                    call.result()
                except PoolinferError:
                    continue
    except PoolinferError:
        return REFUSED
    return SOUND


def _submit(pool: Pool, request: Raw | Chat | Embed):  # type: ignore[no-untyped-def]
    try:
        return pool.submit(request)
    except PoolinferError:
        return None


def main() -> None:
    seed, folder = sys.argv[1], Path(sys.argv[5])
    first, step, count = map(int, sys.argv[2:5])
    bank = [path.read_bytes() for path in sorted((folder / "bank").iterdir())]
    library.bindings()
    import numpy  # noqa: F401 - before the forks

    counts: Counter[str] = Counter()
    path, words = folder / f"mutant-{first}.gguf", folder / f"words-{first}"
    for index in range(first, count, step):
        chance = Random(f"{seed}-{index}")
        data, notes = mutant(chance.choice(bank), chance)
        path.write_bytes(data)
        how, status = judge(path, words)
        counts[how] += 1
        if how == "died":
            kept = path.rename(folder / f"died-{index}.gguf")
            tail = words.read_text(errors="replace")[-600:]
            print(
                json.dumps(
                    {"index": index, "status": status, "notes": notes, "file": str(kept), "words": tail}
                ),
                flush=True,
            )
    print(json.dumps(counts), flush=True)


def judge(path: Path, words: Path) -> tuple[str, int]:
    """How far a file came, and the status of the last child that saw it."""
    try:
        model = Model.load(path)
    except PoolinferError:
        return "refused", 0
    status = fork(lambda: trial(model), words)
    if status != SOUND:
        return "tried", status
    status = fork(lambda: use(model), words)
    return ("used" if status == SOUND else "failed" if status == REFUSED else "died"), status


if __name__ == "__main__":
    main()

"""Processes that `multiprocessing` makes of one that has a pool (F-16)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from recipes import LIMA, recipe, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_F16_multiprocessing_recipe(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(recipe("multiprocessing").replace('"spawn"', repr(method)))
    done = run_python(str(script), cwd=tmp_path)
    assert done.stdout == f"{LIMA}\nThe capital of Spain is Madrid.\n", done.stderr


FORKING = """
import multiprocessing, os, warnings
from pathlib import Path
from poolinfer import *

# Since 3.12 a fork beside threads warns; here it is the point.
warnings.simplefilter("ignore", DeprecationWarning)
PERU, FILES = "What is the capital of Peru?", ("socket:", "pipe:", "anon_inode:")

def held():
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try: found.add((int(entry.name), os.readlink(entry)))
        except OSError: pass
    return {one for one in found if one[1].startswith(FILES)}

def chat(pool):
    return pool.chat(PERU, temperature=0, timeout=30).answer

def in_child(function, *args):
    # What function returns in a forked child, or the name and the message of what it raises.
    def run():
        try: writing.send(function(*args))
        except Exception as error: writing.send((type(error).__name__, str(error)))
    reading, writing = multiprocessing.Pipe(False)
    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    writing.close()
    found = reading.recv()
    child.join(30)
    assert child.exitcode == 0, child.exitcode
    return found

def fresh(executor):
    with Pool(demo_model(), executor=executor) as own:
        return chat(own)
"""

STARTED_HERE = """
before = held()
with Pool(demo_model(), executor={executor!r}, workers=2) as pool:
    assert chat(pool) == "The capital of Peru is Lima."
    of_pool = held() - before
    assert (len(of_pool) >= 5) == ({executor!r} != "thread"), of_pool
    left = in_child(lambda: held() & of_pool)
    assert not left, left
    kind, said = in_child(chat, pool)
    assert kind == "ForkedPool" and "Start pools after the fork" in said, (kind, said)
    assert in_child(pool.close) is None
    assert in_child(fresh, "process") == "The capital of Peru is Lima."
    found = in_child(fresh, "thread")
    if {executor!r} == "thread":
        assert found[0] == "ForkedPool" and "executor='process'" in found[1], found
    else:
        assert found == "The capital of Peru is Lima.", found
    assert held() - before == of_pool
    assert chat(pool) == "The capital of Peru is Lima."
    assert pool.stats().failed == 0
"""

MADE_HERE = """
pool = Pool(demo_model(), executor={executor!r})

def use():
    with pool:
        return chat(pool)

assert in_child(use) == "The capital of Peru is Lima."
assert in_child(chat, pool) == "The capital of Peru is Lima."
assert use() == "The capital of Peru is Lima."
"""


@pytest.mark.parametrize("executor", ["thread", "process", "prefork"])
@pytest.mark.parametrize("case", [STARTED_HERE, MADE_HERE], ids=["started", "made"])
def test_F16_multiprocessing_fork(run_script: Any, case: str, executor: str) -> None:
    """No descriptor of the pool in the child; ForkedPool; the parent goes on. A pool that was only made works."""
    done = run_script(FORKING + case.replace("{executor!r}", repr(executor)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_F16_a_fork_between_the_first_call_and_the_pools_thread(run_script: Any) -> None:
    """The child does not take the parent's call for its own."""
    done = run_script(
        FORKING
        + """
import threading
from poolinfer.testing import FakeExecutor

starts, found = threading.Thread.start, []
def start(thread):
    if thread.name == "poolinfer-conductor":
        threading.Thread.start = starts
        found.append(in_child(pool.submit, Raw("in the child")))
    starts(thread)

threading.Thread.start = start
pool = Pool(executor=FakeExecutor())
assert pool.raw("hello").text == "hello"
pool.close()
assert found[0][0] == "ForkedPool", found
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

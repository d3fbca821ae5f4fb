"""Fixtures for every test: nothing may be left behind, and whatever hangs says where."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from poolinfer import Model, demo_model
from poolinfer.testing import Held

ROOT = Path(__file__).parent.parent
# Tests run beside one another, so how long one example takes says nothing.
settings.register_profile("beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside others")
_OTHERS = ("AnyIO worker thread", "Trio thread", "tqdm_monitor")


def _is_of_others(thread: threading.Thread) -> bool:
    return thread.name.startswith(_OTHERS)


@pytest.fixture(scope="session", autouse=True)
def hears_ctrl_c() -> None:
    """A shell that runs tests in the background has them ignore Ctrl-C, and so would all that they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def hygiene(tiny: Model) -> Iterator[None]:
    """No thread, child process or descriptor outlives its test (importing the engine opens some, once)."""
    faulthandler.dump_traceback_later(55, exit=False)
    before = Held.now()
    yield
    deadline = time.monotonic() + 10
    while more := before.more(tolerate=_is_of_others):
        gc.collect()
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    faulthandler.cancel_dump_traceback_later()
    assert not more, f"left behind: {more}"


@pytest.fixture(params=["asyncio", "trio"])
def run_async(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs an async function to its end, on each kind of event loop."""

    def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return anyio.run(function, *args, backend=request.param)

    return run


@pytest.fixture(scope="session")
def tiny() -> Iterator[Model]:
    """The demo model; its implicit pool runs already, so that no test is blamed for its threads."""
    with Model.load(demo_model()) as model:
        model.raw("a", max_tokens=1)
        yield model


@pytest.fixture(scope="session")
def questions() -> list[dict[str, Any]]:
    """What the demo model was evaluated on: dicts with ``task``, ``messages`` and ``answer``."""
    return json.loads((ROOT / "tools" / "tiny_model" / "questions.json").read_text())


Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_script() -> Script:
    """Runs Python source in a process of its own, and says how it went."""

    def run(source: str, *, timeout: float = 50, flags: tuple[str, ...] = ()) -> Any:
        paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.run(
            [sys.executable, *flags, "-c", textwrap.dedent(source)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    return run

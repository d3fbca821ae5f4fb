"""F-25 in a notebook: interrupting a cell cancels its call and leaves the pool usable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

SETUP = """
import poolinfer
from poolinfer.testing import FakeExecutor

executor = FakeExecutor(manual=True)
stuck = poolinfer.Pool(executor=executor)
pool = poolinfer.Pool(poolinfer.demo_model(), slots=2, threads=1)


async def tick():
    # ipykernel does not wake its event loop for an interrupt: something else has to happen in it.
    import asyncio

    while True:
        await asyncio.sleep(0.05)


def announce():
    # Says from a thread of its own when the cell's call has been given to the executor.
    import threading, time

    def wait():
        while stuck.stats().running != 1:
            time.sleep(0.001)
        print("begun", flush=True)

    threading.Thread(target=wait).start()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        _run(client, SETUP)
        yield manager, client
        _run(client, "executor.obey = True; stuck.close(0); pool.close()")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def _run(client: Any, code: str) -> str:
    """What a cell prints or shows; fails when the cell raises."""
    shown: list[str] = []

    def note(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            shown.append(content["text"])
        elif message["msg_type"] == "execute_result":
            shown.append(content["data"]["text/plain"])

    reply = client.execute_interactive(code, timeout=50, output_hook=note)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(shown)


def _interrupt(manager: Any, client: Any, code: str) -> dict[str, Any]:
    """Run a cell that prints "begun" and then waits; interrupt it there; how it ended."""
    # Otherwise the kernel turns away the next request, if that comes within a moment of the error.
    sent = client.execute(code, stop_on_error=False)
    while True:
        message = client.get_iopub_msg(timeout=50)
        if message["msg_type"] == "stream" and "begun" in message["content"]["text"]:
            break
    manager.interrupt_kernel()
    while True:
        reply: dict[str, Any] = client.get_shell_msg(timeout=50)
        if reply["parent_header"]["msg_id"] == sent:
            return reply["content"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "cell",
    [
        "announce(); stuck.chat('hello')",
        "announce()\nfor piece in stuck.stream('hello'): pass",
        "import asyncio; ticks = asyncio.ensure_future(tick()); announce(); await stuck.achat('hello')",
    ],
)
def test_F25_interrupting_a_cell(kernel: Any, cell: str) -> None:
    manager, client = kernel
    before = _run(client, "print(stuck.stats().cancelled)")
    ended = _interrupt(manager, client, cell)
    assert ended["status"] == "error"
    assert ended["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert f"{int(before) + 1} 0" in _run(
        client, "s = stuck.stats(); print(s.cancelled, s.waiting + s.running)"
    )
    assert "Paris" in _run(client, "print(pool.chat('What is the capital of France?', temperature=0).answer)")
    assert "Paris" in _run(
        client, "(await pool.achat('What is the capital of France?', temperature=0)).answer"
    )
    assert "slots busy" in _run(client, "pool")
    # Every cell runs inside an event loop, and sync calls there are what one writes.
    assert _run(client, "print(poolinfer._pool.wakers._warned)") == "set()\n"

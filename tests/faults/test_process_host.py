"""What the host does, or what befalls it, beside worker processes. Named by `docs/reliability.md`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from crash_pools import crash_pool, make_executor
from host_script import MAKE
from processes import alive, descendants

from poolinfer import Pool, Raw
from poolinfer.testing import wait_until

WAIT = 40.0
SRC = str(Path(__file__).parents[2] / "src")


def _start(source: str, prefork: bool) -> tuple[subprocess.Popen[str], set[int], int]:
    """Start a host that prints how many processes it has and which one it forked.

    Returns:
        The host, the ids of its processes, and the id of the fork.
    """
    host = subprocess.Popen(
        [sys.executable, "-c", MAKE + source, *(["--prefork"] if prefork else [])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    assert host.stdout is not None
    n, child = map(int, host.stdout.readline().split())
    wait_until(lambda: len(descendants(host.pid)) == n, f"{n} processes", WAIT)
    return host, set(descendants(host.pid)), child


def _kill(host: subprocess.Popen[str]) -> None:
    host.kill()
    host.wait(WAIT)
    assert host.stdout is not None
    host.stdout.close()


LOADING = """
executor = make(factory_options={"load_delay": 300.0})
print(1 if PREFORK else 2, 0, flush=True)
Pool(executor=executor).start()
"""
DECODING = """
executor = make(factory_options={"step_delay": 0.01, "tokens": 3000})
pool = Pool(executor=executor)
pool.start()
calls = [pool.submit(Raw("hello")) for _ in range(4)]
seen = [next(iter(call)) for call in calls]
print(3 if PREFORK else 2, 0, flush=True)
time.sleep(300)
"""
HANGING = """
executor = make()
pool = Pool(executor=executor)
pool.start()
calls = [pool.submit(Raw("!HANG@0")) for _ in range(2)]
time.sleep(0.5)
print(3 if PREFORK else 2, 0, flush=True)
time.sleep(300)
"""
DEAF = HANGING.replace("!HANG@0", "!DEAF@0")
DEAF_LOADING = LOADING.replace('"load_delay": 300.0', '"fail_load": "DEAF"')
STOPPED = """
executor = make()
pool = Pool(executor=executor)
pool.start()
for pid in filter(None, [*executor.pids, executor.zygote]):
    os.kill(pid, signal.SIGSTOP)
print(3 if PREFORK else 2, 0, flush=True)
time.sleep(300)
"""
FORKED = """
executor = make()
pool = Pool(executor=executor)
pool.start()
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(300)
print(4 if PREFORK else 3, child, flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "source",
    [LOADING, DECODING, HANGING, DEAF, DEAF_LOADING, STOPPED],
    ids=["loading", "decoding", "hanging", "keeping the lock", "keeping the lock while loading", "stopped"],
)
def test_F14_no_worker_outlives_a_killed_host(source, prefork):
    host, pids, _ = _start(source, prefork)
    assert all(map(alive, pids))
    _kill(host)
    wait_until(lambda: not any(map(alive, pids)), "the workers have ended", 10)


def test_F14_a_lifeline_where_the_signal_cannot_be_chosen(run_script):
    """On macOS the lifeline ends a child by SIGIO, whose handler needs no interpreter lock."""
    done = run_script(
        """
import ctypes, fcntl, os
from poolinfer._system.lifeline import end_with_host
lifeline, held = os.pipe()
reading, ready = os.pipe()
child = os.fork()
if child == 0:
    os.close(held)
    del fcntl.F_SETSIG
    end_with_host(lifeline)
    os.write(ready, b".")
    ctypes.PyDLL(None).sleep(300)
os.read(reading, 1)
os.close(held)
_, status = os.waitpid(child, 0)
assert os.WIFEXITED(status), status
"""
    )
    assert done.returncode == 0, done.stderr


def test_F14_a_host_that_is_gone_before_its_child_looks(run_script):
    done = run_script(
        """
import os
from poolinfer._system.lifeline import end_with_host
lifeline, held = os.pipe()
os.close(held)
end_with_host(lifeline)
raise SystemExit(7)
"""
    )
    assert done.returncode == 0


def test_F14_workers_end_though_a_forked_child_of_the_host_lives(prefork):
    host, pids, child = _start(FORKED, prefork)
    try:
        _kill(host)
        wait_until(lambda: not any(map(alive, pids - {child})), "the workers have ended", 10)
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_F15_workers_outlive_the_thread_that_started_them(run_script):
    done = run_script(
        MAKE
        + """
executor = make()
pool = Pool(executor=executor)
starter = threading.Thread(target=pool.start)
starter.start()
starter.join()
before = executor.pids
time.sleep(0.5)
assert pool.raw("hello").text == "hello"
assert executor.pids == before and executor.stats().crashed == 0
pool.close()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


REAPING = {
    "waits for any child": """
def reap():
    while True:
        try: os.waitpid(-1, 0)
        except ChildProcessError: time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
""",
    "ignores SIGCHLD": """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
""",
}


@pytest.mark.parametrize("host", REAPING.values(), ids=REAPING.keys())
def test_F18_a_host_that_reaps_all_children(run_script, host, prefork):
    done = run_script(
        MAKE.replace('"--prefork" in sys.argv', str(prefork))
        + host
        + """
executor = make(retries=0)
with Pool(executor=executor) as pool:
    assert pool.raw("hello").text == "hello"
    for kind in ("KILL", "EXIT0"):
        try: print(pool.raw(f"!{kind}@0", timeout=30))
        except WorkerLost as error: assert error.exitcode in (None, 0), error
    assert pool.raw("hello", timeout=30).text == "hello"
    assert executor.stats().crashed == 2
assert not executor.pids
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_F72_a_script_without_a_guard_runs_once(tmp_path):
    """The package comes from the host's sys.path alone, and the working directory is no place to import from."""
    script = tmp_path / "script.py"
    body = """
print("once")
with Pool(executor=make()) as pool:
    print(pool.raw("hello").text)
"""
    script.write_text(f"import sys\nsys.path.insert(0, {SRC!r})\n{MAKE}{body}")
    trap = tmp_path / "trap"
    trap.mkdir()
    if sys.version_info >= (3, 11):
        (trap / "json.py").write_text("raise SystemExit('the wrong json')")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=trap,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\nhello\n", "")


@pytest.mark.parametrize("flags", [("-O",), ("-X", "dev", "-W", "error")], ids=["-O", "-X dev -W error"])
def test_F69_flags_of_the_interpreter(run_script, flags):
    done = run_script(
        MAKE
        + """
with Pool(executor=make(retries=0)) as pool:
    print(pool.raw("hello").text)
    try: pool.raw("!SEGV@0")
    except WorkerLost as error: print(error.signal)
""",
        flags=flags,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n11\n", "")


def test_F23_a_host_that_forgets_to_close_ends_all_the_same(run_script):
    done = run_script(
        MAKE
        + """
pool = Pool(executor=make(factory_options={"step_delay": 0.01, "tokens": 3000}))
pool.start()
call = pool.submit(Raw("hello"))
print("end of main")
"""
    )
    assert (done.returncode, done.stdout) == (0, "end of main\n")


def test_F25_workers_ignore_an_interrupt():
    with crash_pool() as (pool, executor):
        for pid in executor.pids:
            os.kill(pid, signal.SIGINT)
        assert pool.raw("hello").text == "hello"
        assert executor.stats().crashed == 0


def test_F25_an_interrupt_before_a_worker_can_ignore_it():
    executor = make_executor()
    starter = threading.Thread(target=executor.start, args=(lambda: None,))
    starter.start()
    while starter.is_alive():
        for pid in executor.pids:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.01)
    starter.join()
    assert executor.stats().workers == 1
    assert executor.stats().crashed == 0
    executor.close(0)


def test_F20_close_while_workers_load(prefork):
    executor = make_executor(workers=2, factory_options={"load_delay": 300.0}, prefork=prefork)
    pool = Pool(executor=executor)
    call = pool.submit(Raw("hello"))
    wait_until(lambda: executor.zygote if prefork else len(executor.pids) == 2)
    pool.close(0)
    assert call.done()
    assert executor.pids == ()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_workers_have_a_scrubbed_environment_and_no_new_privileges(monkeypatch):
    monkeypatch.setenv("MY_SECRET", "canary")
    with crash_pool() as (_, executor):
        (pid,) = executor.pids
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"canary" not in environment
        assert b"GGML_NO_BACKTRACE=1" in environment
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
        open_files = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert sum(name.startswith("socket:") for name in open_files) == 1

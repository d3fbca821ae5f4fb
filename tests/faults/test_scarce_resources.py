"""A host that runs out of descriptors or processes while it has workers (F-37, F-38)."""

from __future__ import annotations

import sys

import pytest
from host_script import MAKE

STARVED = """
import resource
def descriptors(n):
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
plenty = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

# Enough for the supervisor itself, and not for a worker.
descriptors(len(os.listdir("/proc/self/fd")) + 4)
try:
    Pool(executor=make()).start()
except ModelError as error:
    assert "Too many open files" in str(error), error
else:
    raise SystemExit("a pool started without descriptors")
descriptors(plenty)

executor = make(patience=SOON_AGAIN)
with Pool(executor=executor) as pool:
    first = executor.pids
    before = len(os.listdir("/proc/self/fd"))
    descriptors(3)
    for pid in first: os.kill(pid, signal.SIGKILL)
    while executor.stats().workers: time.sleep(0.01)
    starved = pool.submit(Raw("hello"))
    time.sleep(0.5)
    assert not starved.done() and not executor.pids
    descriptors(plenty)
    assert starved.result(30).text == "hello"
    while executor.stats().workers < 2: time.sleep(0.01)
    while len(os.listdir("/proc/self/fd")) != before: time.sleep(0.01)
assert not executor.pids
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_F37_a_host_that_runs_out_of_descriptors(run_script, prefork):
    done = run_script(MAKE.replace('"--prefork" in sys.argv', str(prefork)) + STARVED)
    assert done.returncode == 0, done.stderr


#: Takes away what lets root start as many processes as it likes, from this process and its children.
LIKE_ANYBODY = """
import ctypes
if os.getuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    SYS_ADMIN, SYS_RESOURCE, PR_CAPBSET_DROP = 21, 24, 24
    for capability in (SYS_ADMIN, SYS_RESOURCE):
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
    os.setresuid(54321, 0, 0)
    head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    for n in (0, 1):
        sets[n] &= ~(1 << SYS_ADMIN | 1 << SYS_RESOURCE)
    assert libc.capset(head, sets) == 0
"""
CROWDED = """
import resource
plenty = resource.getrlimit(resource.RLIMIT_NPROC)
def processes(n):
    resource.setrlimit(resource.RLIMIT_NPROC, (n, plenty[1]))

if os.getuid() == 54321:
    # Nobody else has this id: the pool's three threads fit, and a worker does not.
    processes(4)
    try:
        Pool(executor=make()).start()
    except ModelError as error:
        assert "Resource temporarily unavailable" in str(error), error
    else:
        raise SystemExit("a pool started without room for a process")
    resource.setrlimit(resource.RLIMIT_NPROC, plenty)

executor = make(patience=SOON_AGAIN)
with Pool(executor=executor) as pool:
    processes(1)
    if PREFORK:
        # It was started when there was room; the next one finds none.
        os.kill(executor.zygote, signal.SIGKILL)
        while executor.zygote: time.sleep(0.01)
    os.kill(executor.pids[0], signal.SIGKILL)
    while executor.stats().workers != 1: time.sleep(0.01)
    time.sleep(0.5)
    assert executor.stats().workers == 1
    assert pool.raw("hello").text == "hello"
    resource.setrlimit(resource.RLIMIT_NPROC, plenty)
    while executor.stats().workers < 2: time.sleep(0.01)
    assert pool.raw("hello").text == "hello"
assert not executor.pids
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_NPROC and capabilities")
def test_F38_no_more_processes_than_the_user_may_have(run_script, prefork):
    done = run_script(MAKE.replace('"--prefork" in sys.argv', str(prefork)) + LIKE_ANYBODY + CROWDED)
    assert done.returncode == 0, done.stderr

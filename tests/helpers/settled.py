"""What a pool's figures say when nothing is left to do."""

from __future__ import annotations

from poolinfer.testing import wait_until


def settled(pool):
    """Nothing runs, waits or holds a slot; no call is lost."""
    wait_until(lambda: pool.stats().busy + pool.stats().running + pool.stats().waiting == 0, "busy == 0")
    stats = pool.stats()
    assert stats.stopping == 0
    assert stats.accepted == stats.succeeded + stats.failed + stats.cancelled + stats.expired
    return stats

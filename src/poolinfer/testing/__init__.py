"""The public testing kit.

`FakeExecutor` lets an application test itself without a model. `FakeEngine` puts a scripted engine under the real
lanes and threads. `ExecutorContract` holds an executor of your own to the laws of executors (`poolinfer.executor`).

    import poolinfer
    from poolinfer.testing import FakeExecutor

    with poolinfer.Pool(executor=FakeExecutor(lambda request: "Paris.")) as pool:
        assert pool.chat("What is the capital of France?").answer == "Paris."
"""

from .._data.public_names import publish as _publish
from ._contract import ExecutorContract
from ._expect import check, wait_until
from ._fake_engine import FakeEngine, fake_pool
from ._fake_executor import FakeExecutor
from ._held_resources import Held

__all__ = [
    "ExecutorContract",
    "FakeEngine",
    "FakeExecutor",
    "Held",
    "check",
    "fake_pool",
    "wait_until",
]

_publish(__name__, *(globals()[name] for name in __all__))

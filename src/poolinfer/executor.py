"""Where calls run: descriptions to give to `poolinfer.Pool`, and what those need who write an executor.

Three executors come with poolinfer. Each has a description, with the options that only it has:

    from poolinfer.executor import Process

    pool = poolinfer.Pool("model.gguf", executor=Process(workers=4, max_age=86_400), slots=8)

A name stands for a description without options: ``executor="process"``.

To write an executor, implement `Executor` and describe it by a `Description`. Offer that under a name: with
`register`, or by an entry point in the group ``poolinfer.executors``. A test class derived from
`poolinfer.testing.ExecutorContract` holds the executor to its laws.
"""

from ._data.constraint import Constraint
from ._data.events import Done, Emit, Event, Failed, Job, Started
from ._data.public_names import publish as _publish
from ._data.results import Chunk
from ._data.specs import FileSpec, LaneSpec, LoraSpec, ModelSpec, RopeSpec
from ._data.stats import ExecutorStats
from ._data.text_results import DocumentScore
from ._executors.descriptions import Prefork, Process, Thread
from ._executors.executor_protocol import Description, Executor
from ._executors.registry import register

__all__ = [
    "Chunk",
    "Constraint",
    "Description",
    "DocumentScore",
    "Done",
    "Emit",
    "Event",
    "Executor",
    "ExecutorStats",
    "Failed",
    "FileSpec",
    "Job",
    "LaneSpec",
    "LoraSpec",
    "ModelSpec",
    "Prefork",
    "Process",
    "RopeSpec",
    "Started",
    "Thread",
    "register",
]

_publish(__name__, *(globals()[name] for name in __all__))

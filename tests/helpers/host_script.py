"""How the scripts begin that are hosts of worker processes."""

from __future__ import annotations

#: The start of every script: an executor of two workers, without a guard of any kind.
MAKE = """
import os, signal, sys, threading, time
from poolinfer import *
from poolinfer._executors.workers.patience import Patience
from poolinfer._executors.process import ProcessExecutor
from poolinfer._executors.workers.restarts import RestartLimit
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer.testing._crash import crash_program

#: Workers that cannot be started are tried again at once, and for as long as it takes.
SOON_AGAIN = Patience(tick=0.05, restarts=RestartLimit(most=1000, first=0.05, longest=0.1))
PREFORK = "--prefork" in sys.argv

def make(*, factory_options=None, **options):
    return ProcessExecutor(ModelSpec("", (0, 0, 0, 0)), LaneSpec(n_ctx=4096), workers=2,
                           prefork=PREFORK, program=crash_program(**(factory_options or {})), **options)

"""

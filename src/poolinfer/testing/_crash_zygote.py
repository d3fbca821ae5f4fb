"""A zygote whose engine fails as a prompt says, run by `python -m poolinfer.testing._crash_zygote FD LIFELINE`."""

from __future__ import annotations

from .._worker.zygote_main import main
from ._crash import FACTORIES

if __name__ == "__main__":
    main(FACTORIES)

"""llama-cpp-python's low-level API. Only this file imports `llama_cpp`."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

from ..._data.errors import ModelError
from .llama_log import LlamaLog


class Bindings:
    """llama-cpp-python's low-level API, imported when it is first needed."""

    def __init__(self) -> None:
        self._api: Any = None
        self._importing = threading.Lock()

    @property
    def api(self) -> Any:
        """The functions and constants of llama.cpp.

        Raises:
            ModelError: llama-cpp-python cannot be imported.
        """
        with self._importing:
            if self._api is None:
                self._api = self._import()
            return self._api

    @property
    def has_amx(self) -> bool:
        """Whether this build uses the processor's AMX instructions."""
        return b"AMX_INT8 = 1" in self.api.llama_print_system_info()

    @property
    def has_gpu(self) -> bool:
        """Whether the library was loaded and finds a GPU."""
        return self._api is not None and bool(self._api.llama_supports_gpu_offload())

    def look_at_log(self) -> None:
        """Have llama.cpp's lines logged if somebody wants them; asked before each model and each context."""
        if self.api is not None:
            self._log.set()

    def _import(self) -> Any:
        first = "llama_cpp" not in sys.modules
        try:
            import llama_cpp.llama_cpp as api
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(
                f"llama-cpp-python cannot be imported ({error}). It is built from source: install a C++ compiler"
                " (Debian: apt-get install build-essential; macOS: xcode-select --install), then"
                " pip install --force-reinstall 'llama-cpp-python>=0.3.36,<0.4'"
            ) from error
        if first:
            _close_files()
        self._log = LlamaLog(api)
        api.llama_backend_init()
        return api


def _close_files() -> None:
    """Close the two files on the null device that llama-cpp-python opens and leaves to the garbage collector.

    Its `Llama(verbose=False)` writes to them: they are replaced by ones that need not be closed. To be called
    only by who imports it first, while nobody can be writing.
    """
    utils = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        file = getattr(utils, name, None)
        if isinstance(file, io.TextIOBase):
            fd = os.dup(file.fileno())
            file.close()
            setattr(utils, name, open(fd, "w", closefd=False))  # noqa: SIM115

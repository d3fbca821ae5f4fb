"""Models that are split into several files, as `gguf-split` of llama.cpp names them: `name-00001-of-00003.gguf`."""

from __future__ import annotations

import re

from .._data.errors import ModelError
from .gguf_file import GgufFile, read_gguf_file

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
_NO, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_MOST = 1000


def is_other_part(file: GgufFile) -> bool:
    """Whether a file is a part of a split model, and not its first."""
    return bool(file.number(_NO))


def other_parts(file: GgufFile) -> list[GgufFile]:
    """All parts of a split model but the first; none of a model that is one file.

    Raises:
        ModelError: `file` is not the first part. Or another part is missing, or belongs to another model. Or the
            name of the first is not one by which llama.cpp finds the others.
    """
    count = file.number(_COUNT) or 0
    if count < 2:
        return []
    named = _NAME.fullmatch(file.path)
    if count > _MOST or not named or int(named[3]) != count or int(named[2]) != (file.number(_NO) or 0) + 1:
        raise ModelError(
            f"model file {file.path!r} is a part of a model in {count} files: name them as gguf-split does,"
            f" '...-00001-of-{count:05}.gguf' and so on (at most {_MOST})"
        )
    if is_other_part(file):
        first = f"{named[1]}-00001-of-{count:05}.gguf"
        raise ModelError(f"model file {file.path!r} is not the first part of its model: give {first!r}")
    parts = [
        read_gguf_file(f"{named[1]}-{n:05}-of-{count:05}.gguf", f"part {n} of {count},")
        for n in range(2, count + 1)
    ]
    tensors = set(file.tensors)
    for n, part in enumerate(parts, 1):
        if part.number(_NO) != n or part.number(_COUNT) != count or tensors & part.tensors.keys():
            raise ModelError(
                f"part {n + 1} of {count}, {part.path!r}, is not of the model {file.path!r}: fetch it again"
            )
        tensors |= part.tensors.keys()
    wanted = file.number(_TENSORS)
    if wanted is not None and wanted != len(tensors):
        raise ModelError(
            f"the {count} parts of {file.path!r} hold {len(tensors)} tensors, and should hold {wanted}: fetch"
            " them again, all of one model"
        )
    return parts

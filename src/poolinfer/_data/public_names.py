"""Public classes say where they are imported from, and not in which private file they are written."""

from __future__ import annotations

from typing import Any, get_type_hints


def publish(module: str, *objects: object) -> None:
    """Have classes say that they are of a public module: in tracebacks, pickles and ``help``.

    Whoever resolves the annotations of a class looks their names up in the module that the class names. So they
    are resolved here, before the class names another one. `inspect.getsource`, which looks there for the text of a
    class, finds none: it raises `OSError`.

    Args:
        module: the name of the public module.
        objects: what it exports. All but classes is left as it is, and so are classes that another package made.
    """
    for item in objects:
        if isinstance(item, type) and item.__module__.startswith("poolinfer."):
            _resolve(item)
            item.__module__ = module
            if "__firstlineno__" in vars(item):  # from Python 3.13 on: a line of another file
                del item.__firstlineno__  # type: ignore[attr-defined]


def _resolve(cls: type[Any]) -> None:
    hints = get_type_hints(cls, include_extras=True)
    own = vars(cls).get("__annotations__", {})
    own.update((name, hints[name]) for name in own)
    for field in vars(cls).get("__dataclass_fields__", {}).values():
        field.type = hints[field.name]

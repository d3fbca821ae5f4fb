"""The names of executors: ours, those that were registered, and those that installed packages offer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from .._checks.refusals import refuse, show
from .._data.errors import InvalidRequest
from .descriptions import Prefork, Process, Thread
from .executor_protocol import Description

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Makes a description of the options that were given to a pool; usually the class of the description.
Factory: TypeAlias = Callable[..., Description]

#: The names of the executors that come with poolinfer.
ExecutorName: TypeAlias = Literal["thread", "process", "prefork"]

#: The entry point group in which a package offers executors, by name.
GROUP = "poolinfer.executors"
#: The executors that come with poolinfer; no other executor can have one of these names.
OURS: Mapping[str, Factory] = {"thread": Thread, "process": Process, "prefork": Prefork}
_registered: dict[str, Factory] = {}
_NAME = re.compile(r"[A-Za-z][\w.-]{0,63}")


def register(name: str, factory: Factory) -> None:
    """Let ``Pool(executor=name)`` stand for ``Pool(executor=factory(...))``, in this process.

    A package that is installed needs no call of this: it offers the factory as an entry point of that name, in the
    group ``poolinfer.executors``. A name that is registered again stands for what was registered last.

    Args:
        name: letters, digits, dots, underscores and hyphens, a letter first.
        factory: the class of a `Description`, or another function that returns one. It gets those options of
            `poolinfer.Pool` which were given and have the name of one of its parameters: `workers`, above all.

    Raises:
        InvalidRequest: the name has other characters, or is one of ours; or the factory cannot be called.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        refuse("name", name, "use letters, digits, dots, underscores and hyphens, a letter first")
    if name in OURS:
        refuse("name", name, "take another one, this executor comes with poolinfer")
    if not callable(factory):
        refuse("factory", factory, "give the class of a Description, or a function that returns one")
    _registered[name] = factory


def find(name: str) -> Factory:
    """What makes the description that a name stands for.

    Raises:
        InvalidRequest: there is no such name, or the package that offers it is broken.
    """
    known = OURS.get(name) or _registered.get(name)
    if known is not None:
        return known
    try:
        offers = {point.value: point for point in _offers() if point.name == name}
    except Exception as error:
        raise InvalidRequest(
            f"executor: {show(name)} is none of {_listed(_known())}, and what installed packages offer cannot be"
            f" read: {error!r}; repair or uninstall the package whose entry_points.txt is damaged",
            field="executor",
        ) from error
    if not offers:
        raise InvalidRequest(f"executor: {show(name)} is not known; {remedy()}", field="executor")
    if len(offers) > 1:
        packages = " and ".join(_package(point) for point in offers.values())
        raise InvalidRequest(
            f"executor: {show(name)} is offered by {packages};"
            " uninstall all but one, or give the description itself",
            field="executor",
        )
    (point,) = offers.values()
    try:
        factory = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a module that is imported must not end the host
        raise InvalidRequest(
            f"executor: {show(name)} of {_package(point)} ({point.value}) cannot be loaded: {error!r};"
            " repair or uninstall that package",
            field="executor",
        ) from error
    if not callable(factory):
        raise InvalidRequest(
            f"executor: {show(name)} of {_package(point)} ({point.value}) is of type {type(factory).__name__}, and"
            " must be the class of a Description; repair or uninstall that package",
            field="executor",
        )
    return factory  # type: ignore[no-any-return]


def remedy() -> str:
    """What to give as the executor of a pool."""
    try:
        offered = {point.name for point in _offers()}
    except Exception:  # a damaged package is not what the caller did wrong
        offered = set()
    return (
        f"use {_listed(_known(offered))}, a description such as Process(workers=2), or an object with the"
        " Executor protocol"
    )


def _known(offered: Iterable[str] = ()) -> list[str]:
    return [*OURS, *sorted({*offered, *_registered} - OURS.keys())]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _package(point: EntryPoint) -> str:
    if point.dist is None:
        return "a package"
    try:
        name = point.dist.name
    except Exception:  # its METADATA cannot be read
        name = None
    return f"the package {name}" if name else f"a package in {point.dist.locate_file('')} that has no name"


def _offers() -> Iterable[EntryPoint]:
    """Entry points of our group.

    Raises:
        Exception: any, where the files of an installed package are damaged.
    """
    # Not at the top: it takes longer to import than all of poolinfer, and few hosts need it.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))

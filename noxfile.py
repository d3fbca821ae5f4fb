"""What is run on this project: ``nox -s demo``, ``tests``, ``soak``, ``lint``, ``types``, ``docs``, ``bench``."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"


def _build_env() -> dict[str, str]:
    """Flags for building llama-cpp-python: GCC 12 miscompiles AMX kernels, so they are left out where met."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or "amx_tile" not in cpuinfo.read_text():
        return {}
    flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    return {"CFLAGS": flags, "CXXFLAGS": flags}


def _install(session: nox.Session, *groups: str) -> None:
    dependencies = [item for group in groups for item in nox.project.dependency_groups(_PROJECT, group)]
    session.install("-q", "-e", ".", *dependencies, env=_build_env())


_PROJECT = nox.project.load_toml("pyproject.toml")


@nox.session
def demo(session: nox.Session) -> None:
    """Install poolinfer and run 16 concurrent calls on the model that ships with it."""
    _install(session)
    session.run("python", "-m", "poolinfer", "demo")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    _install(session, "tests")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Five minutes of mixed load per executor while workers are killed at random; POOLINFER_SOAK is the seconds."""
    _install(session, "tests")
    seconds = os.environ.get("POOLINFER_SOAK", "300")
    session.run(
        *("python", "-m", "pytest", "-s", "tests/test_process_soak.py", *session.posargs),
        env={"POOLINFER_SOAK": seconds},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style."""
    session.install("-q", *nox.project.dependency_groups(_PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, and that every public name has one."""
    _install(session, "types", "tests")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "poolinfer")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation."""
    _install(session, "docs")
    session.run("mkdocs", "build", "--strict")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure poolinfer beside its peers (benchmarks/README.md); ``--quick``: does it all run? ``--docs``: paste.

    Arguments go to benchmarks/bench.py; with those two alone, all other scripts run as well.
    """
    _install(session, "bench")
    session.run("python", "benchmarks/bench.py", *session.posargs)
    if set(session.posargs) <= {"--quick", "--docs"}:
        session.run("python", "benchmarks/python_cost.py", *session.posargs)
        session.run("python", "benchmarks/sampled.py", *session.posargs)
        session.run("python", "benchmarks/overhead.py", *session.posargs)
        session.run("python", "benchmarks/memory.py", *session.posargs)

"""Everything that is run on this project: ``nox -s demo``, ``tests``, ``lint``, ``types``, ``docs``, ``bench``."""

from __future__ import annotations

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
    """Measure throughput beside one locked Llama and the bare batched loop; arguments go to the script."""
    _install(session, "bench")
    session.run("python", "benchmarks/throughput.py", *session.posargs)

"""What is run on this project: ``nox -s demo``, and tests, conformance, soak, fuzz, lint, types, docs, bench."""

from __future__ import annotations

import os
import tarfile
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
    session.run_install("python", "tools/pip_install.py", "-e", ".", *dependencies, env=_build_env())


_PROJECT = nox.project.load_toml("pyproject.toml")
# As many processes as two cores keep busy, since tests wait about as long as they compute.
_AT_A_TIME = ("-n", "3", "--dist", "worksteal")


@nox.session
def demo(session: nox.Session) -> None:
    """Install poolinfer and run 16 concurrent calls on the model that ships with it."""
    _install(session)
    session.run("python", "-m", "poolinfer", "demo")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, several at a time, and then those that have to be alone.

    With arguments, which go to pytest, one process runs all that they choose, one test after the other.
    """
    _install(session, "tests")
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
    else:
        session.run("python", "-m", "pytest", *_AT_A_TIME, "-m", "not alone")
        session.run("python", "-m", "pytest", "-m", "alone")


@nox.session
def soak(session: nox.Session) -> None:
    """Five minutes of mixed load per executor while workers are killed at random; POOLINFER_SOAK is the seconds."""
    _install(session, "tests")
    seconds = os.environ.get("POOLINFER_SOAK", "300")
    session.run(
        *("python", "-m", "pytest", "-s", "tests/faults/test_process_soak.py", *session.posargs),
        env={"POOLINFER_SOAK": seconds},
    )


@nox.session
def fuzz(session: nox.Session) -> None:
    """10,000 damaged model files and 5,000 hostile prompts, with llama.cpp's own templates and vocabularies.

    POOLINFER_FUZZ_HEADERS and POOLINFER_FUZZ_PROMPTS are the counts; ``tests`` runs 300 of each. All are seeded.
    """
    _install(session, "tests")
    env = {
        "POOLINFER_FUZZ_HEADERS": os.environ.get("POOLINFER_FUZZ_HEADERS", "10000"),
        "POOLINFER_FUZZ_PROMPTS": os.environ.get("POOLINFER_FUZZ_PROMPTS", "5000"),
        "POOLINFER_LLAMA_CPP": _llama_source(session),
    }
    session.run("python", "-m", "pytest", "-s", "-m", "fuzz", "--timeout", "7200", *session.posargs, env=env)


def _llama_source(session: nox.Session) -> str:
    """The folder of llama.cpp's source in the source distribution of the llama-cpp-python that is installed."""
    return str(_source(session, "llama-cpp-python") / "vendor" / "llama.cpp")


def _source(session: nox.Session, package: str) -> Path:
    """The folder of a package's unpacked source distribution, of the version that is installed.

    pip asks its build backend for metadata only, so nothing is compiled.
    """
    say = f"import importlib.metadata as m; print(m.version({package!r}))"
    version = str(session.run("python", "-c", say, silent=True)).strip()
    folder = Path(session.create_tmp())
    name = f"{package.replace('-', '_')}-{version}"
    if not (folder / name).exists():
        only_source = ("--no-deps", "--no-binary", package)
        session.run(
            *("python", "-m", "pip", "download", "-q", *only_source),
            *("-d", str(folder), f"{package}=={version}"),
        )
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


@nox.session
def conformance(session: nox.Session) -> None:
    """Compare with what others have written down: llama.cpp's templates and cases, the JSON-Schema-Test-Suite.

    Both come out of source distributions that pip downloads. transformers renders the same templates, and computes
    the same generated models.
    """
    _install(session, "tests", "conformance")
    env = {
        "POOLINFER_LLAMA_CPP": _llama_source(session),
        "POOLINFER_JSON_SCHEMA_TESTS": str(_source(session, "jsonschema") / "json"),
    }
    session.run("python", "-m", "pytest", "-n", "2", "tests/conformance", *session.posargs, env=env)


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

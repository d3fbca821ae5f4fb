"""Damaged headers of sound model files (F-57): each is refused, or a host loads it, uses it, and lives.

POOLINFER_FUZZ_HEADERS is how many there are. A failure names seed and number, which make the same file again.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gguf_header import read
from gguf_models import VARIANTS, WRITERS
from gguf_mutants import mutant

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
COUNT = int(os.environ.get("POOLINFER_FUZZ_HEADERS", "300"))
SEED = os.environ.get("POOLINFER_FUZZ_SEED", "57")
HOSTS = 2
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HELPERS)]),
    # Whoever forks has one thread, and a backtrace takes a second.
    "OPENBLAS_NUM_THREADS": "1",
    "GGML_NO_BACKTRACE": "1",
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file of each kind."""
    folder = tmp_path_factory.mktemp("headers") / "bank"
    folder.mkdir()
    for kind, write in {**VARIANTS, **WRITERS}.items():
        if kind != "t5":
            write(folder / f"{kind}.gguf")
    return folder


def test_a_header_that_was_taken_apart_packs_to_the_same_bytes(bank: Path) -> None:
    for path in bank.iterdir():
        assert read(path.read_bytes()).pack() == path.read_bytes()


def test_a_seed_makes_the_same_lies(bank: Path) -> None:
    sound = (bank / "llama.gguf").read_bytes()
    made = [mutant(sound, Random(f"seed {i}")) for i in range(20)]
    assert made == [mutant(sound, Random(f"seed {i}")) for i in range(20)]
    assert len({data for data, _ in made}) == 20


@pytest.mark.fuzz
@pytest.mark.timeout(60 + COUNT)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_F57_no_damaged_header_ends_a_host(bank: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # of the fixture, which takes more than a minute for a hang
    command = [sys.executable, str(HELPERS / "gguf_host.py"), SEED]
    hosts = [
        subprocess.Popen(
            [*command, str(first), str(HOSTS), str(COUNT), str(bank.parent)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        for first in range(HOSTS)
    ]
    try:
        said = [host.communicate() for host in hosts]
    finally:
        for host in hosts:
            host.kill()
            host.communicate()
    assert [host.returncode for host in hosts] == [0] * HOSTS, b"\n".join(words for _, words in said).decode()
    lines = [json.loads(line) for out, _ in said for line in out.splitlines()]
    deaths: list[dict[str, Any]] = [line for line in lines if "index" in line]
    counts = sum((Counter(line) for line in lines if "index" not in line), Counter())
    print(f"seed {SEED}: {dict(counts)}")
    assert not deaths, f"seed {SEED}: {json.dumps(deaths, indent=1)}"
    assert counts.total() == COUNT
    # Mutants are worth something if some are refused by us, some by llama.cpp, and some by nobody.
    assert all(counts[how] > COUNT // 20 for how in ("refused", "tried", "used")), counts

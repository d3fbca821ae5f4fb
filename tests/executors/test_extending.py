"""The executor of the page on extending: its very text keeps the laws, has a name, and is found in a package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolinfer import InvalidRequest, Pool, demo_model
from poolinfer._executors import registry
from poolinfer.executor import LaneSpec

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
#: What the package of a third party has: the executor, and its description.
SOURCE = BLOCKS[0] + BLOCKS[2]
NAMES: dict[str, Any] = {"__name__": "poolinfer_echo"}
for block in (BLOCKS[0], BLOCKS[2], BLOCKS[5]):
    exec(compile(block, str(PAGE), "exec", dont_inherit=True), NAMES)


class TestTheExecutorOfThePage(NAMES["TestEcho"]):  # type: ignore[misc]
    """The page's own test class, run."""


class TestTheDescriptionOfThePage(NAMES["TestEcho"]):  # type: ignore[misc]
    """The same over what its description makes."""

    def make_executor(self) -> Any:
        return NAMES["Echo"](delay=0.001).make(None, LaneSpec(slots=self.slots))


BEFORE = "emit, _ = print, emit(ending)"
#: For each law a change of the page's text that breaks it, as (what is there, what is put there instead).
BREACHES = {
    "l1_ends_twice": ("        emit(ending)\n", "        emit(ending)\n        emit(ending)\n"),
    "l1_never_ends": ("        emit(ending)\n", ""),
    "l1_loses_a_chunk": (
        "            emit(Chunk(word, word))\n",
        "            emit(Chunk(word[:2], word))\n",
    ),
    "l2": ("            self._threads.submit(self._run, job, ", "            self._run(job, "),
    "l3": ("len(self._jobs) >= self._slots", "False"),
    "l4": ("if cancelled.wait(self._delay):", "if threading.Event().wait(self._delay):"),
    "l6": ("        with self._changed:  # first", f"        {BEFORE}\n        with self._changed:  # first"),
    "l7_leaves_threads": ("            self._threads.shutdown()", "            pass"),
    "l7_starts_after_close": ("            if self._closing:\n", "            if False:\n"),
    "l7_lets_none_end": ("            self._changed.wait_for(", "            (lambda idle, grace: None)("),
    "l8": ("if os.getpid() != self._pid:", "if False:"),
    "l9": ("Chunk(word, word)", "Chunk(type('Word', (str,), {})(word), {word})"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_the_contract_notices_a_broken_law(breach: str) -> None:
    there, instead = BREACHES[breach]
    source = BLOCKS[0].replace(there, instead)
    assert source != BLOCKS[0]
    names: dict[str, Any] = {"__name__": "poolinfer_echo"}
    exec(compile(source + BLOCKS[5], str(PAGE), "exec", dont_inherit=True), names)
    made = []

    class Contract(names["TestEcho"]):  # type: ignore[misc]
        patience = 1.5

        def make_executor(self) -> Any:
            made.append(super().make_executor())
            return made[-1]

    failed = []
    law = breach.partition("_")[0]
    for name in [name for name in dir(Contract) if name.startswith(f"test_{law}_")]:
        try:
            getattr(Contract(), name)()
        except AssertionError as error:
            failed.append(str(error))
    for executor in made:
        for job in executor._jobs.values():
            job.set()
        if executor._threads is not None:
            executor._threads.shutdown(cancel_futures=True)
    assert any(law.upper() in said for said in failed), failed


def test_the_whole_executor_is_short() -> None:
    lines = [line for line in SOURCE.splitlines() if line.strip()]
    assert len(lines) < 80
    assert len(BLOCKS[0].splitlines()) < 80


def test_each_law_is_explained() -> None:
    assert re.findall(r"^\| L(\d) ", PAGE.read_text(), re.MULTILINE) == list("123456789")


def test_a_pool_finds_it_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(InvalidRequest, match="'echo' is not known"):
        Pool(executor="echo")
    registry.register("echo", NAMES["Echo"])
    with Pool(executor="echo", slots=3) as pool:
        assert [call.answer for call in pool.map(["one two", "three"])] == ["one two", "three"]
        assert pool.stats().slots == 3
        assert repr(pool).startswith("<Pool echo ")
    with pytest.raises(
        InvalidRequest, match=r"^workers is 2: leave it out, executor='echo' has no such option"
    ):
        Pool(executor="echo", workers=2)


def test_a_pool_finds_it_in_an_installed_package(tmp_path: Path, run_script: Callable[..., Any]) -> None:
    """A distribution on the import path, with the entry point that the page shows."""
    found = re.search(r'^\[project\.entry-points\."(.+)"\]\necho = "(.+)"$', PAGE.read_text(), re.MULTILINE)
    assert found is not None
    (tmp_path / "poolinfer_echo.py").write_text(SOURCE)
    meta = tmp_path / "poolinfer_echo-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: poolinfer-echo\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        f"[{found[1]}]\necho = {found[2]}\nbroken = poolinfer_echo:Nothing\n"
    )
    done = run_script(
        f"""
        import sys
        sys.path.append({str(tmp_path)!r})
        from poolinfer import InvalidRequest, Pool

        with Pool({demo_model()!r}, executor="thread"):
            assert "poolinfer_echo" not in sys.modules
        with Pool(executor="echo", slots=2) as pool:
            print(pool.chat("over there").answer, pool.stats().slots)
        for name in ("broken", "other"):
            try:
                Pool(executor=name)
            except InvalidRequest as error:
                print(error)
        """
    )
    said, broken, other = done.stdout.splitlines()
    assert said == "over there 2"
    assert broken.startswith(
        "executor: 'broken' of the package poolinfer-echo (poolinfer_echo:Nothing) cannot be loaded: AttributeError"
    )
    assert other.startswith(
        "executor: 'other' is not known; use 'thread', 'process', 'prefork', 'broken', 'echo', a description"
    )
    assert (done.returncode, done.stderr) == (0, "")

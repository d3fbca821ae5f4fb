"""``python -m poolinfer bench``: a table, and the line to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import poolinfer
from poolinfer.__main__ import main
from poolinfer._cli import bench
from poolinfer._cli.bench import ChatBurst, Layout, LayoutFigures

SMALL = ["--calls", "4", "--words", "4", "--max-tokens", "8", "--n-ctx", "128"]


def _measured(rate: float, slots: int) -> LayoutFigures:
    return LayoutFigures(Layout(1, slots, 1), rate, 0.0, 0.0, 0.0)


@pytest.mark.alone
def test_it_prints_a_line_for_each_layout_and_a_pool_that_works(
    tiny: poolinfer.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "cores", lambda: 2)
    assert main(["bench", tiny.path, *SMALL]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^ +(\d+) +(\d+) +(\d+) +([\d.]+) +\d+ +\d+ +\d+$", printed, re.MULTILINE)
    assert [tuple(map(int, row[:3])) for row in rows] == [
        (layout.workers, layout.slots, layout.threads) for layout in bench.layouts(2)
    ]
    assert all(float(row[3]) > 0 for row in rows)
    with eval(f"poolinfer.{printed.splitlines()[-1]}") as pool:
        assert (
            pool.chat("What is the capital of Peru?", temperature=0).answer == "The capital of Peru is Lima."
        )


def test_a_layout_is_measured_in_worker_processes_too(tiny: poolinfer.Model) -> None:
    burst = ChatBurst(calls=4, words=4, max_tokens=8, n_ctx=128, executor="process")
    measured = bench.measure(tiny.info, Layout(1, 2, 1), burst)
    assert measured.tokens_per_second > 0
    assert 0 < measured.ttft_p50 <= measured.ttft_p95
    assert burst.chats() == burst.chats()


def test_layouts_are_within_the_cores() -> None:
    for cores in (1, 2, 3, 8, 64):
        found = list(bench.layouts(cores))
        assert Layout(1, 1, cores) in found
        assert all(1 <= one.workers * one.threads <= cores for one in found)
        assert len(found) == len(set(found))


def test_a_layout_that_is_hardly_faster_is_not_worth_its_slots() -> None:
    assert bench.best([_measured(99.0, 4), _measured(100.0, 16)]).layout.slots == 4
    assert bench.best([_measured(90.0, 4), _measured(100.0, 16)]).layout.slots == 16


def test_what_does_not_fit_into_memory_is_left_out(
    tiny: poolinfer.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Half of this is the context of four calls.
    monkeypatch.setattr(bench, "available_memory", lambda: 8 * 128 * tiny.kv_bytes_per_token)
    monkeypatch.setattr(bench, "cores", lambda: 1)
    assert main(["bench", tiny.path, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^workers=1, slots=(\d+), threads=1: left out", printed, re.MULTILINE) == ["8", "16"]


def test_a_bad_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", __file__]) == 1
    assert "ModelError" in capsys.readouterr().err


def test_the_page_has_a_place_for_every_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    places = re.findall(r"<!-- bench (\w+) -->(?s:.*?)<!-- /bench \1 -->", text)
    assert sorted(places) == sorted(
        [
            "machine",
            "targets",
            "reproduced",
            "python_cost",
            "sampled",
            "overhead",
            "memory",
            *(f"W{n}" for n in range(1, 9)),
        ]
    )


@pytest.mark.parametrize("value", ["0", "-1", "many", "9" * 20, "9" * 5000])
@pytest.mark.parametrize(
    ("option", "most"),
    [("calls", "1,000"), ("words", "100,000"), ("max-tokens", "1,000,000"), ("n-ctx", "1,048,576")],
)
def test_sizes_are_checked(option: str, most: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", f"--{option}", value])
    said = capsys.readouterr().err
    assert f"not a number from 1 to {most}" in said
    assert len(said) < 1000

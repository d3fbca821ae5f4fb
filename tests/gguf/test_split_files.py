"""Models in several files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf_models import write_llama

from poolinfer import Model, ModelError, Pool


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """The parts of a model."""
    write_llama(tmp_path / "model.gguf", part_tensors=7)
    found = sorted(tmp_path.glob("model-*.gguf"))
    assert [path.name for path in found] == [f"model-{n:05}-of-00003.gguf" for n in (1, 2, 3)]
    return found


@pytest.mark.parametrize("executor", ["thread", "process", "prefork"])
def test_a_split_model_answers_like_the_whole(parts: list[Path], tmp_path: Path, executor: Any) -> None:
    whole, split = Model.load(write_llama(tmp_path / "whole.gguf")), Model.load(parts[0])
    assert split.size == sum(path.stat().st_size for path in parts)
    assert [file.path for file in split.spec.files] == [str(path) for path in parts]
    assert split.info.n_vocab == whole.info.n_vocab
    texts = []
    for model in (whole, split):
        with Pool(model, executor=executor, slots=1, threads=1, n_ctx=64) as pool:
            texts.append(pool.raw("hello the", max_tokens=12, temperature=0).text)
    assert texts[0] == texts[1]


def test_another_part_is_not_the_first(parts: list[Path]) -> None:
    with pytest.raises(
        ModelError, match=r"is not the first part of its model: give '.*-00001-of-00003.gguf'"
    ):
        Model.load(parts[1])


def test_F56_a_part_that_is_missing(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(
        ModelError, match=r"part 2 of 3, '.*-00002-of-00003.gguf' cannot be read: No such file"
    ):
        Model.load(parts[0])


def test_F56_a_part_that_is_cut_short(parts: list[Path]) -> None:
    with parts[2].open("r+b") as file:
        file.truncate(parts[2].stat().st_size - 64)
    with pytest.raises(ModelError, match=r"part 3 of 3, '.*-00003-of-00003.gguf'"):
        Model.load(parts[0])


def test_parts_in_the_wrong_place(parts: list[Path], tmp_path: Path) -> None:
    shutil.copy(parts[1], parts[2])
    with pytest.raises(ModelError, match=r"part 3 of 3, .* is not of the model"):
        Model.load(parts[0])
    shutil.copy(write_llama(tmp_path / "whole.gguf"), parts[2])
    with pytest.raises(ModelError, match=r"part 3 of 3, .* is not of the model"):
        Model.load(parts[0])


def test_a_part_of_another_model(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_llama(tmp_path / "other" / "model.gguf", part_tensors=9)
    shutil.copy(tmp_path / "other" / parts[2].name, parts[2])
    with pytest.raises(ModelError, match=r"hold 16 tensors, and should hold 20"):
        Model.load(parts[0])


def test_a_part_under_another_name(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"name them as gguf-split does, '...-00001-of-00003.gguf'"):
        Model.load(shutil.copy(parts[0], tmp_path / "renamed.gguf"))


def test_F58_a_part_that_changed_is_not_loaded(parts: list[Path]) -> None:
    model = Model.load(parts[0])
    os.utime(parts[2], (1, 1))
    with pytest.raises(ModelError, match=r"-00003-of-00003.gguf: the file changed"), Pool(model, n_ctx=64):
        pass

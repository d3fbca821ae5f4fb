"""What is known of a model is data: a pool has it, a model has it, and a pool can be made of it."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import weakref
from pathlib import Path

import pytest

from poolinfer import InvalidRequest, Model, ModelError, ModelInfo, Pool, demo_model
from poolinfer._gguf.model_file import read_model_file
from poolinfer._pool.call_methods import CallMethods
from poolinfer.testing import FakeExecutor


def test_the_model_of_a_pool_makes_no_calls(tiny):
    """Before, `pool.model` was a `Model`, whose `chat` quietly started a second pool."""
    pool = Pool(tiny)
    assert isinstance(pool.model, ModelInfo)
    assert pool.model is tiny.info
    calls = {name for name in vars(CallMethods) if not name.startswith("_")}
    assert "chat" in calls
    assert not calls & set(dir(pool.model))


def test_what_is_known_of_a_model_is_frozen_data(tiny):
    info = Model.load(demo_model()).info
    assert (info, hash(info)) == (tiny.info, hash(tiny.info))
    assert pickle.loads(pickle.dumps(info)) == info
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.n_ctx = 1
    assert repr(info.name) in repr(info)
    assert info.chat_template not in repr(info)


def test_what_is_known_of_a_model_is_what_its_file_says(tiny):
    file, info = read_model_file(demo_model()), tiny.info
    for name in (
        "path",
        "name",
        "architecture",
        "size",
        "n_ctx_train",
        "n_vocab",
        "n_expert",
        "kv_bytes_per_token",
    ):
        assert getattr(info, name) == getattr(file, name), name
    assert (info.chat_template, info.generates) == (file.chat_template, True)
    assert info.n_ctx == min(file.n_ctx_train, 4096)
    with pytest.warns(UserWarning, match="was trained for"):
        given = Model.load(demo_model(), n_ctx=file.n_ctx_train + 1, chat_template="{{ messages }}").info
    assert (given.n_ctx, given.chat_template) == (file.n_ctx_train + 1, "{{ messages }}")


@pytest.mark.parametrize(
    "name", ["path", "name", "size", "n_ctx", "n_ctx_train", "n_expert", "kv_bytes_per_token", "spec"]
)
def test_a_model_has_the_facts_of_its_info(tiny, name):
    assert getattr(tiny, name) == getattr(tiny.info, name)


class _PathWithInfo(os.PathLike):
    """A path with an attribute `info`, as `pathlib.Path` is from Python 3.14 on."""

    info = "not about a model"

    def __fspath__(self):
        return demo_model()


@pytest.mark.parametrize(
    "source",
    [demo_model, lambda: Path(demo_model()), _PathWithInfo, lambda: Model.load(demo_model()).info],
    ids=["str", "Path", "a path with an attribute info", "ModelInfo"],
)
def test_a_pool_is_made_of_a_path_or_of_what_is_known_of_a_model(tiny, source):
    with Pool(source(), executor=FakeExecutor()) as pool:
        assert pool.model == tiny.info
        with pytest.raises(InvalidRequest, match="logit_bias"):
            pool.raw("a", logit_bias={10**6: 1.0})
        assert pool.raw("a").text == "a"


def test_a_pool_made_of_another_pool_s_model_answers_alike(tiny):
    with Pool(tiny) as first, Pool(pickle.loads(pickle.dumps(first.model))) as second:
        asked = {"temperature": 0, "max_tokens": 8}
        assert first.chat("What is the capital of Peru?", **asked).text
        assert (
            second.chat("What is the capital of Peru?", **asked).text
            == first.chat("What is the capital of Peru?", **asked).text
        )


def test_a_pool_is_made_of_no_other_object():
    with pytest.raises(ModelError, match="of type int"):
        Pool(5)
    with pytest.raises(InvalidRequest, match="give a Model"):
        Pool(None)


def test_a_pool_does_not_keep_the_model_that_it_was_made_of():
    model = Model.load(demo_model())
    pool, gone = Pool(model), weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert pool.model.path == os.path.abspath(demo_model())


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_file_that_is_gone_is_named_with_a_remedy(tmp_path, caplog, executor):
    path = tmp_path / "gone.gguf"
    path.write_bytes(Path(demo_model()).read_bytes())
    info = Model.load(path).info
    path.unlink()
    pool = Pool(info, executor=executor)
    try:
        with pytest.raises(
            ModelError, match=r"gone\.gguf: the file is gone or cannot be read \(No such file"
        ) as caught:
            pool.start()
    finally:
        pool.close()
    assert str(caught.value).startswith(f"{path}: ")
    assert "put it back" in str(caught.value)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("n_ctx", [0, -1, 15, 2**30, True, "x", 64.0, None])
def test_a_context_that_a_caller_wrote_into_an_info_is_checked(tiny, n_ctx):
    info = dataclasses.replace(tiny.info, n_ctx=n_ctx)
    with pytest.raises(InvalidRequest, match=r"^n_ctx is .*: use an int from 16 to ") as caught:
        Pool(info)
    assert caught.value.field == "n_ctx"
    assert Pool(info, n_ctx=64).model is info


def test_a_model_that_was_trained_for_few_tokens_makes_a_pool(tiny):
    Pool(dataclasses.replace(tiny.info, n_ctx=8, n_ctx_train=8)).close()

"""What tests of pools share."""

from __future__ import annotations

import pytest

from poolinfer import Pool
from poolinfer.testing import FakeExecutor


@pytest.fixture
def executor():
    return FakeExecutor(manual=True, slots=4)


@pytest.fixture
def pool(executor):
    pool = Pool(executor=executor)
    yield pool
    pool.close(0)

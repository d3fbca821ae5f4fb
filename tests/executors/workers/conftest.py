"""What tests of supervised workers share."""

from __future__ import annotations

import pytest
from supervised import Stage


@pytest.fixture
def stages():
    made: list[Stage] = []

    def make(*args, **options) -> Stage:
        made.append(Stage(*args, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.close_all()


@pytest.fixture
def stage(stages) -> Stage:
    return stages()

"""500 schemas in the shapes of real APIs, through the engine beside seven free slots."""

from __future__ import annotations

import pytest
from api_answers import answers_to_schemas
from api_schemas import api_schemas
from guided import Follower, as_answer, constraint

from poolinfer import Model, Pool

_SCHEMAS = 500


def test_schemas_take_their_instances() -> None:
    for api in api_schemas(_SCHEMAS):
        follower = Follower(constraint(response_format=api.schema))
        for instance in api.instances:
            assert follower.accepts(as_answer(instance)), (api.name, instance)


@pytest.mark.timeout(1200)
def test_answers_follow_their_schemas(tiny: Model) -> None:
    with Pool(tiny, slots=8) as pool:
        whole = answers_to_schemas(pool, _SCHEMAS)
    print(f"{whole} of {_SCHEMAS} answers were whole")
    assert whole >= _SCHEMAS * 3 / 4

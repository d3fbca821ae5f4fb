"""Functions as tools: what the model is told of them, what they are given, and what becomes of what they do."""

from __future__ import annotations

import datetime
import enum
import json
import threading
import time
from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
import pytest

from poolinfer import InvalidRequest, Pool, Session, ToolCall, TooManyRounds, demo_model
from poolinfer._pool.tool_functions import ToolFunctions


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@dataclass
class Town:
    city: str
    country: str = "?"


def get_weather(city: str, unit: Unit = Unit.CELSIUS, days: int = 1) -> str:
    """Get the current weather for a city.

    Nobody knows how.

    Args:
        city: name of the city.
        unit: what temperatures are in.
    """
    return f"{city} {unit.name} {days}"


async def later(town: Town, *, how: Literal["soon", "late"] = "late", **more: object) -> dict[str, object]:
    await anyio.sleep(0)
    return {"town": town, "how": how}


def outcome(functions, name: str, arguments: object) -> tuple[str, bool]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return tuple(ToolFunctions(functions).call(ToolCall("call_1", name, text)))


def test_a_function_is_described_by_its_signature_and_docstring():
    (spec,) = ToolFunctions([get_weather]).specs
    assert spec["type"] == "function"
    function = spec["function"]
    assert function["name"] == "get_weather"
    assert function["description"] == "Get the current weather for a city.\n\nNobody knows how."
    parameters = function["parameters"]
    assert parameters["type"] == "object"
    assert parameters["required"] == ["city"]
    assert parameters["properties"]["city"] == {"type": "string", "description": "name of the city."}
    assert parameters["properties"]["unit"]["enum"] == ["celsius", "kelvin"]
    assert parameters["properties"]["unit"]["description"] == "what temperatures are in."
    assert parameters["properties"]["days"] == {"type": "integer"}


def test_arguments_become_what_the_hints_say():
    assert outcome([get_weather], "get_weather", {"city": "Lima", "unit": "kelvin"}) == (
        "Lima KELVIN 1",
        False,
    )
    content, error = outcome([later], "later", {"town": {"city": "Lima"}})
    assert not error
    assert json.loads(content) == {"town": {"city": "Lima", "country": "?"}, "how": "late"}


def test_methods_and_annotated_parameters():
    class Shop:
        def price(self, item: Annotated[str, "what is bought"]) -> float:
            return len(item) / 2

    (spec,) = ToolFunctions([Shop().price]).specs
    assert spec["function"]["parameters"]["properties"]["item"]["description"] == "what is bought"
    assert outcome([Shop().price], "price", {"item": "abc"}) == ("1.5", False)


def test_descriptions_of_parameters_that_pydantic_reads():
    pytest.importorskip("pydantic")

    def book(city: str, day: datetime.date, nights: Annotated[int, "how many"] = 1) -> None:
        """Book a room.

        Args:
            city: name of the city.
            day: the first day.
        """

    (spec,) = ToolFunctions([book]).specs
    properties = spec["function"]["parameters"]["properties"]
    said = {name: schema.get("description") for name, schema in properties.items()}
    assert said == {"city": "name of the city.", "day": "the first day.", "nights": "how many"}


@pytest.mark.parametrize(
    "arguments",
    [
        *("", "{", "[]", "7", "null", '{"city": NaN}', "[" * 100_000),
        *({}, {"city": 7}, {"city": "Lima", "days": "one"}, {"city": "Lima", "unit": "mile"}),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model(arguments):
    content, error = outcome([get_weather], "get_weather", arguments)
    assert error
    assert content.startswith("error: the arguments do not fit")


def test_what_goes_wrong_is_told_to_the_model():
    def fails() -> None:
        raise LookupError("nothing there")

    assert outcome([fails], "fails", {}) == ("error: LookupError: nothing there", True)
    content, error = outcome([fails], "succeeds", {})
    assert error
    assert "fails" in content


@pytest.mark.parametrize("result", [None, 7, "text", [1, "ä"], {"a": {1}}, Town("Lima"), object()])
def test_results_become_text(result):
    def tool():
        return result

    content, error = outcome([tool], "tool", {})
    assert not error
    assert content == result if isinstance(result, str) else content == content.strip()


def positional(a, /):
    return a


def several(*a):
    return a


def with_unknown(a: NoSuchType):  # noqa: F821
    return a


@pytest.mark.parametrize(
    "tool", [positional, several, with_unknown, 7, None, int, Town, lambda a: a, min, threading.Lock()]
)
def test_what_cannot_be_described_is_refused_by_name(tool):
    with pytest.raises(InvalidRequest, match=r"tools\[0\]") as caught:
        ToolFunctions([tool])
    assert caught.value.field.startswith("tools[0]")


@pytest.fixture(scope="module")
def pool():
    with Pool(demo_model(), slots=4) as made:
        yield made


ASK = "What is the weather in Lisbon?"


def test_a_run_calls_functions_until_the_model_answers(pool):
    steps = []
    session = pool.session(tools=[get_weather], temperature=0)
    run = session.run(ASK, on_step=steps.append)
    assert list(run.steps) == steps
    assert len(steps) == 2
    (result,) = steps[0].results
    assert (result.call.name, result.error) == ("get_weather", False)
    assert result.content == "Lisbon CELSIUS 1"
    assert steps[1].results == ()
    assert run.response is steps[1].response
    assert run.answer == steps[1].response.answer
    roles = [message["role"] for message in session.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert session.messages[2]["tool_call_id"] == session.messages[1]["tool_calls"][0]["id"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_of_async_code_calls_functions_of_both_kinds(pool, backend):
    async def get_weather(city: str) -> str:
        await anyio.sleep(0)
        return f"sun in {city}"

    def sync(city: str) -> str:
        return f"sun in {city}"

    async def main() -> None:
        sync.__name__ = "get_weather"
        for function in (get_weather, sync):
            session = pool.session(tools=[function], temperature=0)
            run = await session.arun(ASK)
            assert [result.content for result in run.steps[0].results] == ["sun in Lisbon"]

    anyio.run(main, backend=backend)


def test_a_tool_that_takes_too_long_is_an_error_for_the_model(pool):
    over = threading.Event()

    def get_weather(city: str) -> str:
        over.wait(20)
        return "late"

    async def forever(city: str) -> str:
        await anyio.sleep_forever()
        return "never"

    forever.__name__ = "get_weather"
    began = time.monotonic()
    for function in (get_weather, forever):
        run = pool.session(tools=[function], temperature=0).run(ASK, tool_timeout=0.05, max_rounds=3)
        assert run.steps[0].results[0].error
        assert "0.05 s" in run.steps[0].results[0].content
        anyio.run(_arun_with, pool, function)
    assert time.monotonic() - began < 15
    over.set()


async def _arun_with(pool: Pool, function) -> None:
    run = await pool.session(tools=[function], temperature=0).arun(ASK, tool_timeout=0.05)
    assert run.steps[0].results[0].error


def test_a_run_that_does_not_end_is_ended():
    with Pool(demo_model(), slots=2) as pool:
        session = pool.session(tools=[get_weather], temperature=0)
        with pytest.raises(TooManyRounds) as caught:
            session.run(ASK, max_rounds=1)
        assert caught.value.rounds == 1
        # The history stays one that a template takes: every tool call has its answer.
        assert [message["role"] for message in session.messages] == ["user", "assistant", "tool"]
        assert session.chat(temperature=0).answer is not None


def test_a_call_that_is_cut_off_does_not_end_the_session(pool):
    def get_weather(city: str) -> str:
        return city

    for arguments in range(12, 25):
        session = pool.session(tools=[get_weather], temperature=0)
        session.chat(ASK, max_tokens=arguments)
        assert session.chat("Hello!", max_tokens=4).answer
        assert Session.from_json(session.to_json(), pool).chat("Hello!", max_tokens=4).answer
        assert pool.session(tools=[get_weather], temperature=0).run(ASK, max_tokens=arguments).steps


@pytest.mark.parametrize("options", [{"max_rounds": 0}, {"max_rounds": True}, {"tool_timeout": -1}])
def test_bounds_of_a_run(pool, options):
    with pytest.raises(InvalidRequest):
        pool.session(tools=[get_weather]).run(ASK, **options)


def test_context_variables_reach_a_tool(pool):
    import contextvars

    user = contextvars.ContextVar("user", default="nobody")

    def get_weather(city: str) -> str:
        return user.get()

    user.set("Ana")
    run = pool.session(tools=[get_weather], temperature=0).run(ASK)
    assert run.steps[0].results[0].content == "Ana"


def test_a_tool_that_ends_the_program_is_not_told_to_the_model(pool):
    def get_weather(city: str) -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        pool.session(tools=[get_weather], temperature=0).run(ASK)


def test_a_session_from_json_takes_functions_again(pool):
    session = pool.session(tools=[get_weather], temperature=0)
    text = session.to_json()
    again = Session.from_json(text, pool, tools=[get_weather])
    assert again.run(ASK).steps[0].results[0].content == "Lisbon CELSIUS 1"
    without = Session.from_json(text, pool)
    with pytest.raises(InvalidRequest, match="only a description"):
        without.run(ASK)


def test_a_sync_tool_of_arun_keeps_no_process_from_ending(run_script) -> None:
    done = run_script(
        """
        import asyncio, threading
        import poolinfer

        def get_weather(city: str) -> str:
            threading.Event().wait()
            return "never"

        async def main():
            async with poolinfer.Pool(poolinfer.demo_model(), slots=2) as pool:
                session = pool.session(tools=[get_weather], temperature=0)
                run = await session.arun("What is the weather in Lisbon?", tool_timeout=0.1)
                print(run.steps[0].results[0].error)

        asyncio.run(main())
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")

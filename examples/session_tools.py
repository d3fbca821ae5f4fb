"""A session whose tools are Python functions: the model asks for them, and poolinfer calls them."""

import os

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()


def get_weather(city: str) -> str:
    """Get the current weather for a city.

    Args:
        city: name of the city.
    """
    return {"Lisbon": "18 C, sunny"}.get(city, "nobody knows")


def main() -> None:
    with poolinfer.Pool(MODEL, slots=4) as pool:
        session = pool.session(tools=[get_weather], temperature=0)
        run = session.run("What is the weather in Lisbon?", max_rounds=4, tool_timeout=10)
        for step in run.steps:
            for result in step.results:
                print(f"{result.call.name}({result.call.arguments}) -> {result.content}")
        print(run.answer)

        saved = session.to_json()
        again = poolinfer.Session.from_json(saved, pool, tools=[get_weather])
        print(again.chat("Thank you!").answer, f"({len(again.messages)} messages)")


if __name__ == "__main__":
    main()

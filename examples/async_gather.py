"""Sixteen calls at once from one event loop, with streaming and a cancelled call. trio works the same way."""

import asyncio
import os

import anyio

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()
COUNTRIES = (
    *("France", "Spain", "Italy", "Germany", "Norway", "Greece", "Poland", "Turkey"),
    *("Japan", "China", "India", "Egypt", "Kenya", "Peru", "Chile", "Cuba"),
)


async def main() -> None:
    async with poolinfer.Pool(MODEL, slots=8) as pool:
        prompts = [f"What is the capital of {country}?" for country in COUNTRIES]
        responses = await asyncio.gather(
            *(pool.achat(text, temperature=0, max_tokens=64) for text in prompts)
        )
        for prompt, response in zip(prompts, responses, strict=True):
            print(f"{prompt:36} {response.answer}")

        async for chunk in pool.stream("Count from 1 to 20.", temperature=0, max_tokens=80):
            print(chunk.text, end="", flush=True)
        print()

        # A call is cancelled as soon as the task that awaits it is cancelled; here a time limit does that.
        with anyio.move_on_after(0.001):
            await pool.achat("Count from 1 to 60.", temperature=0)
        print(f"{pool.stats().cancelled} call was cancelled")


if __name__ == "__main__":
    asyncio.run(main())

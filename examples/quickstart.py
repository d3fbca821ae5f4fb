"""The calls of poolinfer in sync code: chat, raw, embed, stream, map."""

import os

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()


def main() -> None:
    with poolinfer.Pool(MODEL, slots=8) as pool:
        response = pool.chat("What is the capital of France?", temperature=0, timeout=60)
        print(response.answer, f"({response.usage.completion_tokens} tokens, {response.finish_reason})")

        print(
            "The capital of France is"
            + pool.raw("The capital of France is", temperature=0, max_tokens=4).text
        )

        films, boats = pool.embed(["I love this film.", "The boat is slow."])
        print(f"similarity {films.cosine_similarity(boats):.2f}, {len(bytes(films))} bytes to store")

        for chunk in pool.stream("Count from 1 to 20.", temperature=0, max_tokens=80):
            print(chunk.text, end="", flush=True)
        print()

        prompts = (f"Count from 1 to {n}." for n in range(2, 12))
        for response in pool.map(prompts, temperature=0, max_tokens=64):
            print(response.answer)

        print(pool.stats())


if __name__ == "__main__":
    main()

"""Answers in a form: data of a type, one of several texts, and several answers to one prompt."""

import os
from dataclasses import dataclass
from typing import Literal

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()


@dataclass
class Review:
    """What a review says."""

    verdict: Literal["good", "bad"]
    stars: Literal[1, 2, 3, 4, 5]


def main() -> None:
    with poolinfer.Pool(MODEL, slots=8) as pool:
        reviews = ["The soup was cold.", "A lovely place!", "We waited for an hour."]
        prompts = [f"As JSON, with a verdict and stars: {review}" for review in reviews]
        for review, response in zip(reviews, pool.map(prompts, response_format=Review, seed=1), strict=True):
            found = response.parsed
            print(f"{review} -> {found.verdict}, {found.stars} of 5")

        print("choice:", pool.chat("Is water wet?", choices=["yes", "no"]).answer)

        response = pool.chat("Tell me a joke.", n=3, temperature=1.8, seed=1)
        print("answers:", [choice.answer for choice in response.choices])


if __name__ == "__main__":
    main()

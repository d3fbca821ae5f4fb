"""A lane: one context whose slots are decoded together, step by step."""

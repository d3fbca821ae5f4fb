"""From the bytes of tokens to a caller's text: stop texts, the reasoning split, tool calls.

How a model spells its reasoning and its tool calls is known to `reasoning` and to `tool_calls` alone. Formats that
are learned from a model's chat template belong there; `text_stream` only passes text from one to the other.
"""

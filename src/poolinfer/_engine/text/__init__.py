"""From token bytes to the caller's text: stop texts, reasoning, tool calls."""

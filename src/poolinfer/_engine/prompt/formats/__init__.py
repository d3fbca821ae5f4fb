"""How a model spells tool calls and reasoning, learned by rendering conversations with its own chat template."""

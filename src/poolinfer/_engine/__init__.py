"""Floor 2: the engine and what a lane needs around it (prompts, text, slots)."""

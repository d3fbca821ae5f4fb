"""From messages to tokens: chat templates and tokens that no text can forge."""

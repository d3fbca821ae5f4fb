"""What crosses a process boundary: a codec for data, type checks, messages in frames."""

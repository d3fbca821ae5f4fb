"""GGUF files: their headers, parsed within bounds and checked."""

"""Holding answers to schemas, expressions and grammars; the one folder that imports llguidance."""

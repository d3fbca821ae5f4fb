"""Checks of all that a caller gives, and the limits by which they check."""

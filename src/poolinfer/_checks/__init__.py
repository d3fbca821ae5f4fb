"""Checks of all that a caller gives, and the limits that they hold it to."""

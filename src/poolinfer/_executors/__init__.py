"""Executors: what runs lanes, on threads of this process or in workers behind a link."""

"""A pool's policy and the caller's side: calls, queue, deadlines, statistics."""

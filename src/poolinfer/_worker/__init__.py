"""What runs in a child process: a worker, and the zygote that forks workers."""

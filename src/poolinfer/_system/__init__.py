"""The machine and this process: cores, memory, environment variables, forks, threads, loggers."""

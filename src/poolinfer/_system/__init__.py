"""What this machine and this process are: cores, memory, the environment, forks, threads."""

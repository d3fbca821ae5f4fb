"""What an engine is: the protocols that lanes and prompts ask for, and the folders that use or fulfil them."""

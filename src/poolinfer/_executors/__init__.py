"""Where lanes run: the executors, their descriptions, their names, and the protocol that a pool knows of them."""

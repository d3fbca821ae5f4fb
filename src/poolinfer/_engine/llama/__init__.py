"""llama.cpp through llama-cpp-python: the one folder that knows it."""

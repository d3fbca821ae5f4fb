"""The engines that a benchmark can measure: poolinfer and its peers."""

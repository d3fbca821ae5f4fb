"""Frozen data that travels: requests, results, events, errors, specs of models and lanes."""

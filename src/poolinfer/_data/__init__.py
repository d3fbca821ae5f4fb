"""Frozen data that travels: requests, results, events, errors, descriptions of models and lanes."""

"""Composition roots: each module is one job, started as its own process."""

"""Shards into a trained run."""

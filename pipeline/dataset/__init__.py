"""Many videos into shards."""

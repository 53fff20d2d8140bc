"""What runs on the Ray workers of preprocessing and extraction, and the pool that calls them."""

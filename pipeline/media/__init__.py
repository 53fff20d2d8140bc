"""One local media file into arrays."""

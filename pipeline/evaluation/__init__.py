"""A trained run into what people read."""

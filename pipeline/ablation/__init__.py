"""Which part of the model is worth what: the same data and budget for every variant, many seeds, paired."""

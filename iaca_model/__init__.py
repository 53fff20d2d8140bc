"""The network and its mathematics: tensors in, tensors out, no knowledge of files or clusters."""

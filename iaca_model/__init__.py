"""The network and its mathematics: tensors in, tensors out, independent of files and clusters."""

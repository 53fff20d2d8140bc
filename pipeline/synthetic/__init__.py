"""Labelled synthetic talkers for the demo and the tests: drawn faces with a synthesised voice."""

"""The pages of a dataset for people: its card and its data-quality page."""

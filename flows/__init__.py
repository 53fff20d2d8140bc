"""When jobs run: the Prefect flows and the command line."""

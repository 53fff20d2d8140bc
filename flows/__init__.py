"""The Prefect flows and the command line, which run the jobs of pipeline.jobs in order."""

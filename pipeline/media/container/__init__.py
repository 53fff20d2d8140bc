"""Reading what a container holds, in an expendable process."""

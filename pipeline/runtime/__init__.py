"""What every job's process needs: its boundary, its progress lines, its exit codes and its child processes."""

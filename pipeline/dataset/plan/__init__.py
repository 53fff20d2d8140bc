"""What is known of the videos before they are built, and which of them go into which shard."""

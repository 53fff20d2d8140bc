"""From pictures to the crops of one person."""

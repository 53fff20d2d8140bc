"""From one span of a video to its segments, and from rows of spans to rows of videos."""

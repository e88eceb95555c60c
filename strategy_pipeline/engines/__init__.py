"""What stored context is worth to a signal: five engines with one multiplier each, and how a score takes them in."""

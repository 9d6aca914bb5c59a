"""Where signals and record should meet: early, in the middle, or late; compared on the same data."""

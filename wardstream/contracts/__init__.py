"""What the tiers say to each other: messages, their codes and units, and where they travel."""

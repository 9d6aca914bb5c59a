"""Campaigns that kill parts of a running stack and count what that costs."""

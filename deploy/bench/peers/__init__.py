"""What peers do in their own environment (``make setup-peers``); nothing here is imported."""

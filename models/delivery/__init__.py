"""How a model reaches a bed: checked, signed, laid out for fetching, announced."""

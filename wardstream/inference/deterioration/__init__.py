"""Will this patient deteriorate? Monitor, chart and laboratory as one calibrated probability."""

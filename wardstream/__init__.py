"""The shelf every tier shares: what they say (`contracts`), compute (`kernels`, `alerting`) and learn (`inference`)."""

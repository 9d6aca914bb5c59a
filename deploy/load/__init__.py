"""Made-up wards that load the whole pipeline, for benchmarks and campaigns."""

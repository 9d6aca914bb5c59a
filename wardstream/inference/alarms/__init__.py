"""Is an arrhythmia alarm true? What all channels of the bed say of it: support, never removal."""

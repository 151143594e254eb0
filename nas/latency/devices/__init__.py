"""Where model files run and are timed."""

"""The guided proxy: a regression taught by the few networks that are worth training."""

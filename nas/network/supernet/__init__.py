"""A supernet: one set of weights that every network of a space shares."""

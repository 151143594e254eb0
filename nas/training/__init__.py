"""Training: recipes, the loop, and what became of every network that was ever trained."""

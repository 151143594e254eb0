"""Training in full: the recipes of the papers, checkpoints, several devices, distillation."""

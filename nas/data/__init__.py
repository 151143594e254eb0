"""Images to train on: read once, held as tensors, split so that no test image is ever seen."""

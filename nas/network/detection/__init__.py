"""SSDLite on any backbone: anchors, boxes, the network, its loss."""

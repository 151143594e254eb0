"""What runs model files: numpy, the standard library and one runtime, so that a device can hold it.

Copied alone to another machine, it needs nothing else of this project.
"""

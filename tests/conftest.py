"""What all tests share."""

import os

# Networks as small as these run slower on more threads; torch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

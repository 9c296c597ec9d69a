"""For all tests."""

import sys

# Tests import models from the model repository, where Triton takes a __pycache__ for a change of the model.
sys.dont_write_bytecode = True

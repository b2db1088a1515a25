"""What the tests of real programs share; ProgramCase in case.py is the way in."""

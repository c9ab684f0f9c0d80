"""Any bytes for what reads input from outside: C{make fuzz}. The short form is in L{tests.fuzz.test_targets}."""

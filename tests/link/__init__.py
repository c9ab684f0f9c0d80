"""
A link between two sites, for tests and benchmarks: slow, late, cut, half-open.

The rules are in C{core.py}, without I/O and with the time as a parameter. C{shaper.py} is a TCP proxy that follows
them. C{process.py} is a process with such a proxy and a DNS server, for tests with real servers.
"""

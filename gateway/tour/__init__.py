"""
A client that demonstrates the services of a running embedded host: C{python -m gateway.tour}.
"""

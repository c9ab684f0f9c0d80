"""
Several gateways with the same components: one of them serves a component, the others wait to take it over.
"""

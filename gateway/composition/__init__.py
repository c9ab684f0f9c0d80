"""
The composition: reads the configuration, checks it with the plugins, and makes, changes and removes the services.
"""

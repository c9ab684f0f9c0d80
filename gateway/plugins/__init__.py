"""
The plugins of the gateway. Any module here, or in a C{gateway/plugins/} folder (without this file) anywhere on the
Python path, may contain providers of L{gateway.interfaces.IServicePlugin}.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []

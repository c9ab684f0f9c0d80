"""
The gateway as a Twisted application: `twistd -ny gateway.tac`.

Does what `twistd -n gateway` does, and like it reads `gateway.toml` in the working directory. A model to copy
for an operator who wants another file, or services of their own in the same process.
"""

from twisted.application.service import Application

from gateway.tap import Options, makeService

options = Options()
options.parseOptions([])  # or ["--config", "/etc/xmpp-gateway/gateway.toml"]

application = Application("xmpp-gateway")
makeService(options).setServiceParent(application)

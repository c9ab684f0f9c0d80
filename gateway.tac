"""
The gateway as a Twisted application: `twistd -ny gateway.tac`.

It does the same as `twistd -n gateway`, and reads `gateway.toml` in the working directory. Copy and change it to
use another file, or to run further services in the same process.
"""

from twisted.application.service import Application

from gateway.tap import Options, makeService

options = Options()
options.parseOptions([])  # or ["--config", "/etc/xmpp-gateway/gateway.toml"]

application = Application("xmpp-gateway")
makeService(options).setServiceParent(application)

-- For compose.yaml: one host, and the gateway's component. Only the other container can connect to its port.
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "version", "private" }
c2s_require_encryption = false
component_ports = { 5347 }
component_interfaces = { "*" }
log = { info = "*console" }
data_path = "/var/lib/prosody"

VirtualHost "example.com"

Component "proxy.example.com"
    component_secret = ENV_COMPONENT_SECRET

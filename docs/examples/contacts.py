"""A web application that knows who knows whom: a file for each user, as john.json, where contacts.py PORT runs."""

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class Contacts(BaseHTTPRequestHandler):
    """GET /contacts/USER; with an entity tag, so that what has not changed costs nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = unquote(self.path.removeprefix("/contacts/"))
        path = Path(f"{name}.json")
        if not self.path.startswith("/contacts/") or Path(name).name != name or not path.exists():
            self.send_error(404)
            return
        document = path.read_bytes()
        tag = f'"{hashlib.sha256(document).hexdigest()}"'
        isKnown = self.headers["If-None-Match"] == tag
        self.send_response(304 if isKnown else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "0" if isKnown else str(len(document)))
        self.end_headers()
        if not isKnown:
            self.wfile.write(document)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Contacts).serve_forever()

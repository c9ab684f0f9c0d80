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
        path = Path(unquote(self.path.removeprefix("/contacts/")) + ".json")
        if not self.path.startswith("/contacts/") or str(path) != path.name or not path.exists():
            self.send_error(404)
            return
        document = path.read_bytes()
        tag = f'"{hashlib.sha256(document).hexdigest()}"'
        code, body = (304, b"") if self.headers["If-None-Match"] == tag else (200, document)
        self.send_response(code)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Contacts).serve_forever()

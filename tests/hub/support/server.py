"""A server that speaks the Hub's protocol, as huggingface_hub 2.4 asks it: model info, the tree by pages, HEAD and GET of
resolve, large files by a redirect to a second origin, ranges, refusals. And what goes wrong with servers, by rules."""
import http.server
import json
import re
import ssl
import sys
import threading
import time
import urllib.parse

from .repos import git_id, sha256

LARGE = (".safetensors", ".bin", ".png", ".model")  # LFS files


class Repo:
    """A model with revisions. files: path -> bytes."""

    def __init__(self, files, commit="c0ffee" + "0" * 34, revisions=("main",), private=False, gated=False, rows=None):
        self.commits = {commit: dict(files)}
        self.revisions = dict.fromkeys(revisions, commit)
        self.private, self.gated = private, gated
        self.rows = rows  # added to the tree as they are

    def push(self, commit, files, revision="main"):
        self.commits[commit] = dict(files)
        self.revisions[revision] = commit

    def commit_of(self, revision):
        return self.revisions.get(revision) or (revision if revision in self.commits else None)

    def tree(self, commit):
        rows = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "vae"}]
        for path, data in sorted(self.commits[commit].items()):
            row = {"type": "file", "oid": git_id(data), "size": len(data), "path": path}
            if path.endswith(LARGE):
                row["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            rows.append(row)
        return rows + (self.rows or [])


class Fault:
    """The first `times` GETs whose path holds `match` go wrong. what: a status; "cut" (the connection ends in the middle of
    the body), "reset" (before any answer), "short" (a whole answer of half the body), "wrong" (other bytes), "long" (more
    bytes), "no-range", "echo" (403 whose words repeat the Authorization header)."""

    def __init__(self, match, what, times=1, headers=None):
        self.match, self.what, self.left, self.headers = match, what, times, headers or {}


class Request:
    def __init__(self, origin, method, path, headers):
        self.origin, self.method, self.path, self.headers = origin, method, path, headers


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):  # clients that were killed
            super().handle_error(request, client_address)


class HubServer:
    """`with HubServer({"org/name": Repo(...)}) as hub`: hub.url, hub.requests, hub.faults."""

    def __init__(self, repos, token=None, page=5, chunk=1 << 16, delay=0.0, tls=None):
        self.repos, self.token, self.page, self.chunk, self.delay = repos, token, page, chunk, delay
        self.faults, self.requests, self.lock = [], [], threading.Lock()
        self.servers = {}
        for origin, handler in (("hub", HubHandler), ("storage", StorageHandler)):
            server = Server(("127.0.0.1", 0), handler)
            server.daemon_threads, server.hub, server.origin = True, self, origin
            if tls:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            self.servers[origin] = server
        scheme = "https" if tls else "http"
        self.url, self.storage = (f"{scheme}://127.0.0.1:{self.servers[o].server_port}" for o in ("hub", "storage"))

    def __enter__(self):
        for server in self.servers.values():
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    def fault(self, path):
        with self.lock:
            for fault in self.faults:
                if fault.left > 0 and fault.match in path:
                    fault.left -= 1
                    return fault
        return None

    def log(self, request):
        with self.lock:
            self.requests.append(request)

    def bodies(self):
        """GETs of contents, by file: a path of resolve that was not redirected, or a hash in the storage."""
        return [r.path.split("?")[0] for r in self.requests if r.method == "GET" and getattr(r, "status", 0) in (200, 206)
                and ("/resolve/" in r.path or r.origin == "storage")]

    def forget(self):
        with self.lock:
            self.requests.clear()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub = self.server.hub
        if self.path.startswith("http://"):  # a proxy is asked for the whole address
            self.path = "/" + self.path.split("/", 3)[3]
        self.request_log = Request(self.server.origin, self.command, self.path, dict(self.headers))
        hub.log(self.request_log)
        self.fault = hub.fault(self.path) if self.command == "GET" else None
        what = self.fault.what if self.fault else None
        try:
            if what == "reset":
                self.close_connection = True
                self.connection.close()
            elif what == "echo":
                self.refuse(403, "", "no: " + self.headers.get("Authorization", ""))
            elif isinstance(what, int):
                self.reply(what, b"something is wrong", self.fault.headers)
            else:
                self.serve(urllib.parse.urlsplit(self.path))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, body, headers=None):
        self.request_log.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status, code, words):
        headers = {"X-Error-Message": words}
        if code:
            headers["X-Error-Code"] = code
        self.reply(status, json.dumps({"error": words}).encode(), headers)

    def send_json(self, value, headers=None):
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send_content(self, data, headers):
        """The body, or the range of it that was asked for, piece by piece; and what rules do to it."""
        what = self.fault.what if self.fault else None
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and what != "no-range":
            start, status = int(asked[1]), 206
            if start >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        if what == "wrong":
            body = bytes(255 - byte for byte in body)
        if what == "long":
            body += b"more"
        if what == "short":
            body = body[:len(body) // 2]
        if self.command == "HEAD":
            body = data
        self.request_log.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = len(body) // 2 if what == "cut" else len(body)
        for at in range(0, end, self.server.hub.chunk):
            self.wfile.write(body[at:min(end, at + self.server.hub.chunk)])
            self.request_log.sent = min(end, at + self.server.hub.chunk)
            if self.server.hub.delay:
                time.sleep(self.server.hub.delay)
        if what == "cut":
            self.close_connection = True
            self.connection.close()
        return None


class StorageHandler(Handler):
    """Where large files lie: another origin, with addresses that are signed."""

    def serve(self, url):
        wanted = url.path.rsplit("/", 1)[-1]
        for repo in self.server.hub.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if sha256(data) == wanted and "signature=" in url.query:
                        return self.send_content(data, {"ETag": '"of-the-storage"'})
        return self.reply(403, b"<Error>AccessDenied</Error>")


class HubHandler(Handler):
    def serve(self, url):
        path = urllib.parse.unquote(url.path)
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        for match, serve in ((tree, self.tree), (info, self.info), (resolve, self.resolve)):
            if match:
                name, revision, *more = match.groups()
                return self.with_repo(name, revision or "main", serve, more, url)
        return self.reply(404, b"not a path of the Hub")

    def with_repo(self, name, revision, serve, more, url):
        hub = self.server.hub
        repo = hub.repos.get(name)
        given = self.headers.get("Authorization")
        if given and given != f"Bearer {hub.token}":
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not given):
            return self.refuse(404 if given else 401, "RepoNotFound", "Repository not found")
        commit = repo.commit_of(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        # Everybody may look at a gated model's list of files, not at the files.
        if repo.gated and serve == self.resolve:
            return self.refuse(403 if given else 401, "GatedRepo", f"Access to model {name} is restricted")
        return serve(repo, name, commit, *more, url)

    def info(self, repo, name, commit, url):
        self.send_json({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in repo.commits.get(commit, [])]})

    def tree(self, repo, name, commit, url):
        query = dict(urllib.parse.parse_qsl(url.query))
        rows, start = repo.tree(commit), int(query.get("cursor", 0))
        end = start + self.server.hub.page
        headers = {}
        if end < len(rows):
            here = self.server.hub.url.split(":")[0] + "://" + self.headers["Host"]
            headers["Link"] = f'<{here}/api/models/{name}/tree/{commit}?recursive=True&expand=False&cursor={end}>; rel="next"'
        self.send_json(rows[start:end], headers)

    def resolve(self, repo, name, commit, path, url):
        data = repo.commits[commit].get(path)
        if data is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(LARGE):
            return self.send_content(data, {**headers, "ETag": f'"{git_id(data)}"'})
        address = f"{self.server.hub.storage}/{name}/{sha256(data)}?signature=abc"
        return self.reply(302, b"", {**headers, "Location": address, "ETag": '"of-the-redirect"',
                                     "X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))})

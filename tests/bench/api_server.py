"""An API server with many objects and nothing else: it lists them, page by page, over HTTP.

In a process of its own, so that what the program under test takes can be told from what
this takes. It knows discovery, `limit` and `continue`; it does not watch, change or
authorise anything. Started as a program it prints its address and serves until its
standard input ends.
"""

import http.server
import json
import random
import sys
import urllib.parse

NAMESPACES = 20
SMALL_BYTES = 2 << 10
SECRETS = 50
SECRET_BYTES = 900 << 10


def metadata(kind, number, manager_fields):
    return {
        "name": f"{kind}-{number:05}",
        "namespace": f"app-{number % NAMESPACES:02}",
        "uid": f"00000000-0000-4000-8000-{number:012}",
        "resourceVersion": str(1000 + number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app.kubernetes.io/name": kind, "app.kubernetes.io/instance": f"{kind}-{number}"},
        "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "v1",
                           "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": manager_fields}],
    }


def text(rng, size):
    return "".join(f"{rng.randrange(16 ** 8):08x} key = value\n" for _ in range(size // 21))


def config_map(rng, number):
    made = {"metadata": metadata("configmap", number, {"f:data": {".": {}, "f:app.conf": {}}})}
    made["data"] = {"app.conf": text(rng, SMALL_BYTES - len(json.dumps(made)))}
    return made


def deployment(rng, number):
    """Mostly structure, as most objects are."""
    fields = {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {}}}}}
    made = {"metadata": metadata("deployment", number, fields), "spec": {
        "replicas": 1, "revisionHistoryLimit": 10, "selector": {"matchLabels": {"app": str(number)}},
        "template": {"metadata": {"labels": {"app": str(number)}}, "spec": {
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "app", "image": f"registry.example.org/app@sha256:{rng.randrange(16 ** 64):064x}",
                            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}], "env": []}]}}},
        "status": {"replicas": 1, "readyReplicas": 1, "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]}}
    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    while len(json.dumps(made)) < SMALL_BYTES:
        env.append({"name": f"VARIABLE_{len(env)}", "value": f"{rng.randrange(16 ** 12):012x}"})
    return made


def secret(rng, number):
    # Base64 of random bytes.
    import base64
    return {"metadata": metadata("secret", number, {"f:data": {"f:large": {}}}), "type": "Opaque",
            "data": {"large": base64.b64encode(rng.randbytes(SECRET_BYTES * 3 // 4)).decode()}}


def namespace(_rng, number):
    return {"metadata": {"name": f"app-{number:02}", "uid": f"n-{number}", "resourceVersion": "1"}}


def objects(count, secrets):
    """Every list, by its path; an object as the bytes that a list has of it."""
    rng = random.Random(7)
    make = lambda how, number: [json.dumps(how(rng, n), separators=(",", ":")).encode() for n in range(number)]
    return {
        "/api/v1/namespaces": make(namespace, NAMESPACES),
        "/api/v1/configmaps": make(config_map, count // 2),
        "/api/v1/secrets": make(secret, secrets),
        "/apis/apps/v1/deployments": make(deployment, count - count // 2),
    }


def resource(name, kind, namespaced=True):
    return {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"]}


FIXED = {
    "/version": {"gitVersion": "v1.36.0"},
    "/api": {"versions": ["v1"]},
    "/apis": {"groups": [{"name": "apps", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}]},
    "/api/v1": {"resources": [resource("namespaces", "Namespace", False), resource("configmaps", "ConfigMap"),
                              resource("secrets", "Secret")]},
    "/apis/apps/v1": {"resources": [resource("deployments", "Deployment")]},
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lists = {}

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        if address.path in FIXED:
            return self.say(200, json.dumps(FIXED[address.path]).encode())
        if address.path not in self.lists:
            return self.say(404, b'{"kind":"Status","message":"not found"}')
        items = self.lists[address.path]
        start = int(query.get("continue", 0))
        end = min(len(items), start + int(query.get("limit", len(items))))
        more = {"resourceVersion": "1"} | ({"continue": str(end)} if end < len(items) else {})
        self.say(200, b'{"kind":"List","metadata":%s,"items":[' % json.dumps(more).encode(), b",".join(items[start:end]), b"]}")

    def say(self, status, *parts):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(sum(map(len, parts))))
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(part)
        except ConnectionError:
            # Who has read enough of a page asks for a smaller one.
            self.close_connection = True

    def log_message(self, *_):
        pass


def main():
    count, secrets = (int(argument) for argument in sys.argv[1:3])
    Handler.lists = objects(count, secrets)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    import threading
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()

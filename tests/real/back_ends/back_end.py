"""An OTLP back end that wants a token, over gRPC and HTTP: prints where it listens, then a line for
each request that it took (`grpc` or `http`) or refused (`refused`)."""

import http.server
import json
import sys
import threading
from concurrent import futures

import grpc

TOKEN = sys.argv[1]


class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers.get("Authorization") == TOKEN and self.path.startswith("/otlp/v1/")
        print("http" if allowed else "refused", flush=True)
        body = b"" if allowed else b'{"message": "authentication error: invalid token"}'
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Grpc(grpc.GenericRpcHandler):
    def service(self, call):
        def export(_, context):
            allowed = ("authorization", TOKEN) in context.invocation_metadata()
            print("grpc" if allowed else "refused", flush=True)
            if not allowed:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid token")
            return b""

        known = call.method.startswith("/opentelemetry.proto.collector.")
        return grpc.unary_unary_rpc_method_handler(export) if known else None


rpc = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
rpc.add_generic_rpc_handlers([Grpc()])
rpc_port = rpc.add_insecure_port("127.0.0.1:0")
rpc.start()
web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
print(json.dumps({"grpc": rpc_port, "http": web.server_address[1]}), flush=True)
web.serve_forever()

"""One gRPC call with any bytes as its message; prints the status code and the message.

Arguments: host:port, the method's path, a file with the bytes, and gzip or identity.
"""

import sys

import grpc

target, method, file, encoding = sys.argv[1:]
compression = grpc.Compression.Gzip if encoding == "gzip" else grpc.Compression.NoCompression
with grpc.insecure_channel(target) as channel, open(file, "rb") as body:
    call = channel.unary_unary(method)
    try:
        answer = call(body.read(), timeout=60, compression=compression)
        print("OK", answer.hex())
    except grpc.RpcError as error:
        print(error.code().name, error.details())

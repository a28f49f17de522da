"""The only makers of gRPC channels and servers, with our deadlines, options and error table."""

"""The typed gRPC services, one servicer for each."""

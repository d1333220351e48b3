"""The kit that leases work over gRPC, and the built-in actions. A client: it knows the contract and no other room."""

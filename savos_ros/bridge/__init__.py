"""Topics over the Foxglove WebSocket protocol. May import node, messages and bags.types."""

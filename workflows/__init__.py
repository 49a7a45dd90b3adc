"""What happens to a message: durable and deterministic, one file a workflow."""

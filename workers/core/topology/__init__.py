"""topology.yaml: the one file that says everything about a deployment."""

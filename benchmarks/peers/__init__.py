"""What others would write for the same work: each program runs in an environment of its own, as its library's documentation shows."""

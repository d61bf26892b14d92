"""What runs inside a sandbox. Sent there as source text; it needs nothing but Python itself."""

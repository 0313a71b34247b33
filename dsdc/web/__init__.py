"""What the HTTP services share: tokens, policies, problem details, limits, metrics, health."""

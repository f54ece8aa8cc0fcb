"""How far a learned task's answers can be trusted, from its support set alone."""

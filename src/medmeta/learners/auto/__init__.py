"""The choice of parts, preparation and head for one task, by its own support and by past tasks."""

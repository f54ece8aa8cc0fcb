"""Strong simple baselines: nearest centroids, linear probes and fine-tuning; no meta-learning."""

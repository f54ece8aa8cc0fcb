"""Tasks: the protocol that fixes them, the sampler that draws them, the loader that fills them."""

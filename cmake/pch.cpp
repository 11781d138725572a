// Carries the precompiled header that the rooms with tensors share.

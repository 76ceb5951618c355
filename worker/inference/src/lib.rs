//! Models and engines on libtorch; knows nothing of the network.

//! End-to-end tests over HTTP, against any network.

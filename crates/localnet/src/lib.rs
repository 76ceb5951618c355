//! An embedded Internet Computer network for development and tests.

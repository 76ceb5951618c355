//! End-to-end tests; each module is a subject.

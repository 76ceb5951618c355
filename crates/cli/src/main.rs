//! The emc command, for requesters and operators.

fn main() {}

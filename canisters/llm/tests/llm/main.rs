//! The adapter's rules, natively, and its interface.

mod choices;
mod conversations;
mod interface;
mod places;
mod settings;
mod waiting;

//! An answer on a terminal while it arrives: prints what is new, and begins anew when another node does.

use crate::output;
use anyhow::Result;

/// What of an answer has been printed.
#[derive(Debug, Default)]
pub struct PartialText {
    shown: String,
}

/// What to print next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// This, after what is there.
    More(&'a str),
    /// All of it: what is there belongs to an attempt that failed.
    Anew(&'a str),
}

impl PartialText {
    /// What to print so that `text` is what has been shown.
    pub fn next<'a>(&mut self, text: &'a str) -> Next<'a> {
        let next = match text.strip_prefix(self.shown.as_str()) {
            Some(more) => Next::More(more),
            None => Next::Anew(text),
        };
        text.clone_into(&mut self.shown);
        next
    }

    /// Prints it.
    pub fn show(&mut self, text: &str) -> Result<()> {
        match self.next(text) {
            Next::More(more) => output::text(&output::harmless(more)),
            Next::Anew(all) => {
                output::text("\n")?;
                output::note("[another node begins anew]");
                output::text(&output::harmless(all))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_printed_until_another_node_begins_anew() {
        let mut text = PartialText::default();
        assert_eq!(text.next("The sky"), Next::More("The sky"));
        assert_eq!(text.next("The sky is"), Next::More(" is"));
        assert_eq!(text.next("The sky is"), Next::More(""));
        assert_eq!(text.next("Because"), Next::Anew("Because"));
        assert_eq!(text.next("Because."), Next::More("."));
    }
}

//! `emc parameters show`: what holds, and what is announced.

use crate::{cli::Globals, session::Session};
use anyhow::Result;
use clap::Args;

/// What holds, and what is announced.
#[derive(Debug, Args)]
pub struct Show {}

impl Show {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        super::print(globals, &session.registry().info().await?)
    }
}

//! `emc parameters cancel`: withdraws the announced change.

use crate::{cli::Globals, session::Session};
use anyhow::Result;
use clap::Args;

/// Withdraw the announced change. Only the governor can.
#[derive(Debug, Args)]
pub struct Cancel {}

impl Cancel {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        super::print(globals, &session.registry().cancel_parameters().await?)
    }
}

//! `emc parameters set`: announces a change.

use crate::{cli::Globals, decimals, session::Session};
use anyhow::Result;
use candid::Principal;
use clap::Args;
use emc_client::protocol::parameters::RegistryParameters;
use emc_client::protocol::{Seconds, Tokens};

/// Announce a change. Only the governor can; it takes effect after the delay that holds now, and replaces a change that
/// is announced already. Times are like 90s, 15m, 24h or 7d.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(after_help = "Example:\n  emc parameters set --minimum-stake 50 --unbonding 14d")]
pub struct Set {
    /// Least stake, in EMC, with which a node gets work in an escrow
    #[arg(long, value_name = "EMC")]
    minimum_stake: Option<Tokens>,
    /// How long stake waits once its escrow has let it go
    #[arg(long, value_name = "TIME", value_parser = decimals::seconds)]
    unbonding: Option<Seconds>,
    /// How long a node whose result was overturned is barred
    #[arg(long, value_name = "TIME", value_parser = decimals::seconds)]
    jail: Option<Seconds>,
    /// How long an escrow may send no report before what leaves it no longer waits for it
    #[arg(long, value_name = "TIME", value_parser = decimals::seconds)]
    silence: Option<Seconds>,
    /// How long a change is public before it takes effect
    #[arg(long, value_name = "TIME", value_parser = decimals::seconds)]
    delay: Option<Seconds>,
    /// An escrow whose reports of computing power are to count for mining; repeat it for more, the list replaces the one
    /// before
    #[arg(long = "mining-escrow", value_name = "PRINCIPAL")]
    mining_escrows: Option<Vec<Principal>>,
    /// No escrow's reports are to count: nothing is mined
    #[arg(long, conflicts_with = "mining_escrows")]
    no_mining_escrow: bool,
}

impl Set {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open_signed(globals).await?;
        let change = RegistryParameters {
            minimum_stake: self.minimum_stake,
            unbonding: self.unbonding,
            jail: self.jail,
            silence: self.silence,
            delay: self.delay,
            mining_escrows: match self.no_mining_escrow {
                true => Some(vec![]),
                false => self.mining_escrows,
            },
        };
        super::print(globals, &session.registry().set_parameters(change).await?)
    }
}

//! The network that tests and the demo run on: embedded in this process, or any other by its URL.

use crate::Control;
use anyhow::{Context, Result};

/// A running network.
pub struct DevNetwork {
    url: String,
    control: Option<Control>,
    /// Kept alive while the network is in use; stops it when dropped.
    _embedded: Option<emc_localnet::Network>,
}

impl DevNetwork {
    /// The network named by `EMC_NETWORK` (a URL), or an embedded one.
    ///
    /// # Errors
    /// If the embedded network does not start.
    pub async fn from_environment(seed: u64) -> Result<Self> {
        match std::env::var("EMC_NETWORK") {
            Ok(url) if !url.is_empty() => Ok(Self::at(&url).await),
            _ => Self::embedded(seed, "127.0.0.1:0").await,
        }
    }

    /// An embedded network on `address`; `seed` fixes the order of messages and the random numbers.
    ///
    /// # Errors
    /// If it does not start, because the address is in use, say.
    pub async fn embedded(seed: u64, address: &str) -> Result<Self> {
        let network = emc_localnet::Network::builder()
            .bind(address)
            .seed(seed)
            .start();
        let network = network.context("the embedded network does not start")?;
        let url = network.url().to_owned();
        // Without it every test of time and faults would say that it is skipped, and pass.
        let control = Control::at(&url).await;
        let control =
            control.context("the embedded network's control interface does not answer")?;
        Ok(Self {
            url,
            control: Some(control),
            _embedded: Some(network),
        })
    }

    /// A network that runs already.
    pub async fn at(url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        let control = Control::at(&url).await;
        Self {
            url,
            control,
            _embedded: None,
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id by which it places new canisters, where it says so.
    pub fn effective_canister_id(&self) -> Option<candid::Principal> {
        self.control
            .as_ref()
            .and_then(Control::effective_canister_id)
    }

    /// Time travel and faults, where the network has them.
    pub fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }
}

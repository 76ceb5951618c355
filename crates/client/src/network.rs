//! Which network to talk to: a local one, the Internet Computer, or any by its URL.

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// Where a local network listens unless `EMC_LOCAL_URL` says otherwise.
pub const LOCAL_URL: &str = "http://127.0.0.1:8000";
/// The Internet Computer's API boundary nodes.
pub const IC_URL: &str = "https://icp-api.io";

/// A network.
///
/// ```
/// use emc_client::Network;
/// assert_eq!("ic".parse::<Network>().unwrap(), Network::Ic);
/// assert_eq!("local".parse::<Network>().unwrap(), Network::Local);
/// assert!("http://127.0.0.1:4943".parse::<Network>().is_ok());
/// assert!("lokal".parse::<Network>().is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// `http://127.0.0.1:8000`, or what the environment variable `EMC_LOCAL_URL` holds.
    #[default]
    Local,
    /// The Internet Computer. Its root key is built in; for every other network it is fetched, so that only a network
    /// that you trust (your own machine's, say) should be given by URL.
    Ic,
    /// Any other, by its `http` or `https` URL.
    Url(String),
}

impl Network {
    /// The URL to send requests to.
    pub fn url(&self) -> String {
        match self {
            Self::Local => std::env::var("EMC_LOCAL_URL")
                .ok()
                .filter(|url| !url.trim().is_empty())
                .unwrap_or_else(|| LOCAL_URL.to_owned()),
            Self::Ic => IC_URL.to_owned(),
            Self::Url(url) => url.clone(),
        }
    }

    /// True for the Internet Computer, whose root key is known.
    pub fn is_ic(&self) -> bool {
        *self == Self::Ic
    }

    /// The name that deployment tools use for it in their files: `local`, `ic`, or the URL.
    pub fn name(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Ic => "ic",
            Self::Url(url) => url,
        }
    }
}

/// `local`, `ic`, or the URL.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "local" => Ok(Self::Local),
            "ic" => Ok(Self::Ic),
            url if is_http_url(url) => Ok(Self::Url(url.trim_end_matches('/').to_owned())),
            other => Err(Error::Config(format!(
                "{other:?} is not a network: write local, ic, or a URL like http://127.0.0.1:8000."
            ))),
        }
    }
}

/// True for `http://host...` and `https://host...`.
fn is_http_url(text: &str) -> bool {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| {
        !host.is_empty() && !host.starts_with(['/', ':']) && !host.contains(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_from_its_name_or_url() {
        assert_eq!("local".parse::<Network>().unwrap(), Network::Local);
        assert_eq!("ic".parse::<Network>().unwrap(), Network::Ic);
        let url = "http://127.0.0.1:4943/".parse::<Network>().unwrap();
        assert_eq!(url, Network::Url("http://127.0.0.1:4943".into()));
        assert_eq!(url.to_string(), "http://127.0.0.1:4943");
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        for wrong in [
            "",
            "mainnet",
            "ftp://host",
            "http://",
            "http:///x",
            "http://a b",
        ] {
            let error = wrong.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("write local, ic, or a URL"), "{error}");
        }
    }
}

//! Starting and stopping a network.

use crate::certify::{Certifier, Keys};
use crate::dirty_pages::DirtyTracking;
use crate::executor::Executor;
use crate::http::{self, App};
use crate::subnet::{FIRST_CANISTER, Subnet, canister_id};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}. Is another network running there? Port 0 picks a free one."
    )]
    Bind {
        /// What was asked for.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread or the runtime could not be started.
    #[error("cannot start the network's threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Settings of a network that is about to start.
#[derive(Clone, Debug)]
pub struct Builder {
    address: String,
    seed: Option<u64>,
    compare_pages: bool,
}

impl Builder {
    /// Address to listen on, `127.0.0.1:0` by default; port 0 picks a free one.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Seeds the keys, the order of messages and `raw_rand`. Without it they differ from run to run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Finds written heap pages by comparing, as on kernels without PAGEMAP_SCAN.
    pub fn compare_pages(mut self, yes: bool) -> Self {
        self.compare_pages = yes;
        self
    }

    /// Starts the network on threads of its own and returns when it answers.
    pub fn start(self) -> Result<Network, StartError> {
        let bind_error = |source| StartError::Bind {
            address: self.address.clone(),
            source,
        };
        let address = self
            .address
            .to_socket_addrs()
            .map_err(bind_error)?
            .next()
            .ok_or_else(|| bind_error(std::io::Error::other("no such address")))?;
        let listener = std::net::TcpListener::bind(address).map_err(bind_error)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;

        let seed = self.seed.unwrap_or_else(rand::random);
        let keys = Arc::new(Keys::generate(&mut StdRng::seed_from_u64(seed)));
        let tracking = if self.compare_pages {
            DirtyTracking::Compare
        } else {
            DirtyTracking::detect()
        };
        let executor = Executor::start(Subnet::new(keys.clone(), seed, tracking))?;
        let certifier = Certifier::start(keys.clone())?;
        let app = App {
            executor: executor.clone(),
            certifier,
            keys: keys.clone(),
        };

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("localnet-http")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = std::thread::Builder::new()
            .name("localnet".into())
            .spawn(move || {
                runtime.block_on(async move {
                    let listener = match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => listener,
                        Err(e) => return tracing::error!("cannot serve: {e}"),
                    };
                    tokio::select! {
                        served = axum::serve(listener, http::router(app)) => {
                            if let Err(e) = served {
                                tracing::error!("serving ended: {e}");
                            }
                        }
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(Network {
            address,
            url: format!("http://{address}"),
            root_key: keys.root_der.clone(),
            seed,
            executor,
            stop: Some(stop),
            server: Some(server),
        })
    }
}

/// A running network. It ends when this is dropped.
pub struct Network {
    address: SocketAddr,
    url: String,
    root_key: Vec<u8>,
    seed: u64,
    pub(crate) executor: Executor,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Network {
    /// A network with settings of your choice.
    pub fn builder() -> Builder {
        Builder {
            address: "127.0.0.1:0".into(),
            seed: None,
            compare_pages: false,
        }
    }

    /// Where it answers, such as `http://127.0.0.1:8000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// DER form of the key that certifies everything.
    pub fn root_key(&self) -> &[u8] {
        &self.root_key
    }

    /// A canister id that creating canisters can be addressed to.
    pub fn default_effective_canister_id(&self) -> String {
        canister_id(FIRST_CANISTER).to_text()
    }

    /// What repeats this network's choices, see [`Builder::seed`].
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network({}, seed {})", self.url, self.seed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // A panic there was reported when it happened.
            let _ = server.join();
        }
    }
}

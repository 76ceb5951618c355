//! Serves `/metrics` for Prometheus and `/healthz` for whoever restarts what is not well, on a local address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Without news from the escrow for this long the worker is not well.
const SILENCE: Duration = Duration::from_secs(120);

/// Begins to serve; the address is the real one where port 0 was asked for. It ends with the runtime.
///
/// # Errors
/// Where the address is taken or not this machine's.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let shown = metrics.clone();
    let app = Router::new()
        .route(
            "/metrics",
            get(move || async move {
                let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
                (kind, shown.render())
            }),
        )
        .route("/healthz", get(move || async move { health(&metrics) }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}

fn health(metrics: &Metrics) -> impl IntoResponse + use<> {
    let silence = metrics.since_poll();
    let owed = metrics.owed.load(Relaxed);
    match silence {
        Some(time) if time < SILENCE => {
            let state = match metrics.taking_work.load(Relaxed) {
                true => "taking work",
                false => "draining",
            };
            (StatusCode::OK, format!("ok, {state}, {owed} owed\n"))
        }
        Some(time) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the escrow has been silent for {} s\n", time.as_secs()),
        ),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: the escrow has not answered yet\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_get::get as fetch;

    #[tokio::test]
    async fn metrics_and_health_are_served() {
        let metrics = Arc::new(Metrics::default());
        let address = serve("127.0.0.1:0".parse().expect("an address"), metrics.clone())
            .await
            .expect("serves");
        let (status, body) = fetch(address, "/healthz").await.expect("answers");
        assert_eq!(status, 503, "{body}");
        metrics.polled(0);
        assert_eq!(fetch(address, "/healthz").await.expect("answers").0, 200);
        let (status, body) = fetch(address, "/metrics").await.expect("answers");
        assert!(status == 200 && body.contains("emc_worker_jobs_in_flight 0"));
        assert_eq!(fetch(address, "/other").await.expect("answers").0, 404);
    }
}

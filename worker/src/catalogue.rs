//! From the settings' models to engines: each is looked up in the registry's catalogue, and served only if the files
//! here are the catalogue's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, bail};
use emc_client::Registry;
use emc_inference::diffusion::{ImageModel, ImageOptions};
use emc_protocol::{ModelEntry, ModelRef, Offer};

use crate::assess::Terms;
use crate::config::{Kind, Model};
use crate::engine::echo::{self, Echo};
use crate::engine::llm::{Llm, LlmOptions, root_of};
use crate::engine::painter::{self, PainterHandle};
use crate::engine::thread::{EngineHandle, Factory};
use crate::engine::{Engine, EngineError, Server};
use crate::metrics::Metrics;
use crate::work::Served;

/// Looks a model up.
///
/// # Errors
/// Where the catalogue does not hold it, it is withdrawn, or the registry does not answer.
pub async fn look_up(registry: &Registry, model: &Model) -> anyhow::Result<ModelEntry> {
    let wanted = ModelRef {
        id: model.id.clone(),
        version: model.version,
    };
    let entry = registry.model(wanted).await?;
    if entry.retired {
        bail!(
            "version {} of {} is withdrawn from the catalogue: no jobs come for it",
            entry.version,
            entry.id
        );
    }
    Ok(entry)
}

/// True where a failed look-up may succeed later: the network or the registry did not answer, which is no refusal.
pub fn may_pass(error: &anyhow::Error) -> bool {
    use emc_client::Error;
    match error.downcast_ref::<Error>() {
        Some(error @ Error::Api(_)) => error.is_retryable(),
        Some(Error::Transport { .. } | Error::Rejected { .. } | Error::Unknown { .. }) => true,
        _ => false,
    }
}

/// Says that files are not those of the catalogue; `None` where they are.
pub fn wrong_root(entry: &ModelEntry, root: &[u8]) -> Option<String> {
    (entry.root != root).then(|| {
        format!(
            "the files of {} version {} have the root {}, the catalogue's have {}: get the files from {}",
            entry.id,
            entry.version,
            hex::encode(root),
            hex::encode(&entry.root),
            match entry.sources.as_slice() {
                [] => "its author".to_owned(),
                sources => sources.join(" or "),
            }
        )
    })
}

/// Starts an engine for a model.
///
/// # Errors
/// Where the files are not the catalogue's or the engine cannot run them.
pub async fn serve(
    model: &Model,
    entry: &ModelEntry,
    least_paid_percent: u32,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Served> {
    let context = Arc::new(AtomicU32::new(0));
    let cannot = || format!("the model {} cannot be served", model.id);
    let name = format!("{}:{}", entry.id, entry.version);
    let text = async |factory| {
        EngineHandle::spawn(&name, factory, metrics)
            .await
            .map(Server::Text)
    };
    let server = match model.kind {
        Kind::Echo => text(echo_factory(model, entry, &context)).await,
        Kind::Llm => text(llm_factory(model, entry, &context)?).await,
        Kind::Image => {
            let factory = image_factory(model, entry)?;
            // A processor is not faster with several at a time, and the first would be finished later.
            let together = match uses_gpu(model) {
                true => model.concurrency as usize,
                false => 1,
            };
            PainterHandle::spawn(&model.id, factory, together)
                .await
                .map(Server::Pictures)
        }
    };
    let server = server.with_context(cannot)?;
    let longest = [model.context.unwrap_or(0), entry.context];
    let longest = longest.into_iter().filter(|context| *context > 0);
    let terms = Terms {
        context: longest.fold(context.load(Relaxed), u32::min),
        least_paid_percent,
    };
    let model_ref = ModelRef {
        id: entry.id.clone(),
        version: Some(entry.version),
    };
    let root = <[u8; 32]>::try_from(entry.root.as_slice())
        .context("the catalogue's root has not 32 bytes")?;
    Ok(Served::new(
        model_ref,
        root,
        server,
        model.concurrency,
        terms,
    ))
}

/// What the registry is told of a served model.
pub fn offer(served: &Served, model: &Model) -> Offer {
    Offer {
        model: served.model.clone(),
        price: model.price,
        concurrency: served.concurrency,
        context: served.terms.context,
    }
}

/// Hashes the files of a model and looks for its device, without loading it. What it would run on.
///
/// # Errors
/// Where the files are not the catalogue's, or the device is not there.
pub fn check_files(model: &Model, entry: &ModelEntry) -> anyhow::Result<String> {
    let (root, device) = match model.kind {
        Kind::Echo => (echo::root(), "runs anywhere".to_owned()),
        Kind::Llm | Kind::Image => {
            let options = LlmOptions::of(model)?;
            options.check_device()?;
            let root = root_of(&emc_inference::model_root(&options.path)?);
            (
                root,
                format!("runs on {} in {}", options.device, options.dtype),
            )
        }
    };
    match wrong_root(entry, &root) {
        Some(why) => bail!(why),
        None => Ok(device),
    }
}

/// True where a model runs on a GPU.
pub fn uses_gpu(model: &Model) -> bool {
    model.kind != Kind::Echo && LlmOptions::of(model).is_ok_and(|options| options.is_on_gpu())
}

fn echo_factory(model: &Model, entry: &ModelEntry, context: &Arc<AtomicU32>) -> Factory {
    let (delay, wrong) = (model.delay, wrong_root(entry, &echo::root()));
    context.store(echo::CONTEXT, Relaxed);
    Box::new(move || match &wrong {
        Some(why) => Err(EngineError::Unsuitable(why.clone())),
        None => Ok(Box::new(Echo::new(delay)) as Box<dyn Engine>),
    })
}

fn llm_factory(
    model: &Model,
    entry: &ModelEntry,
    context: &Arc<AtomicU32>,
) -> anyhow::Result<Factory> {
    let options = LlmOptions::of(model)?;
    let (entry, context) = (entry.clone(), context.clone());
    Ok(Box::new(move || {
        let (llm, root, longest) =
            Llm::load(&options).map_err(|error| EngineError::Unsuitable(error.to_string()))?;
        if let Some(why) = wrong_root(&entry, &root) {
            return Err(EngineError::Unsuitable(why));
        }
        context.store(longest, Relaxed);
        Ok(Box::new(llm) as Box<dyn Engine>)
    }))
}

/// The files are hashed before each loading: the model must be the catalogue's.
fn image_factory(model: &Model, entry: &ModelEntry) -> anyhow::Result<painter::Factory> {
    let LlmOptions {
        path,
        device,
        dtype,
        ..
    } = LlmOptions::of(model)?;
    let options = ImageOptions {
        device,
        dtype,
        ..ImageOptions::default()
    };
    let entry = entry.clone();
    Ok(Box::new(move || {
        let unsuitable = |error: emc_inference::Error| EngineError::Unsuitable(error.to_string());
        let files = emc_inference::model_root(&path).map_err(unsuitable)?;
        match wrong_root(&entry, &root_of(&files)) {
            Some(why) => Err(EngineError::Unsuitable(why)),
            None => ImageModel::load(&path, &options).map_err(unsuitable),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use emc_protocol::Timestamp;
    use std::time::Duration;

    fn entry(root: [u8; 32], context: u32) -> ModelEntry {
        let echo = echo::publish_model();
        ModelEntry {
            id: echo.id,
            version: 3,
            task: Some(echo.task),
            name: echo.name,
            description: echo.description,
            root: root.to_vec(),
            files: echo.files,
            licence: echo.licence,
            sources: vec!["https://example.org/echo.txt".into()],
            context,
            memory: 0,
            author: candid::Principal::anonymous(),
            published: Timestamp(0),
            listed: false,
            retired: false,
            terms: None,
            pending_terms: None,
        }
    }

    fn model(context: Option<u32>) -> Model {
        Model {
            id: "echo".into(),
            version: None,
            kind: Kind::Echo,
            path: None,
            price: emc_protocol::Price::default(),
            concurrency: 2,
            context,
            device: None,
            dtype: None,
            activations: None,
            delay: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn a_model_is_served_with_its_version_and_the_shortest_context() {
        let served = serve(
            &model(Some(500)),
            &entry(echo::root(), 900),
            75,
            Arc::default(),
        )
        .await
        .expect("serves");
        let offer = offer(&served, &model(None));
        assert_eq!(
            (offer.model.version, offer.context, offer.concurrency),
            (Some(3), 500, 2)
        );
        let served = serve(&model(None), &entry(echo::root(), 0), 75, Arc::default())
            .await
            .expect("serves");
        assert_eq!(served.terms.context, echo::CONTEXT);
    }

    #[tokio::test]
    async fn files_that_are_not_the_catalogue_s_are_not_served() {
        let error = serve(&model(None), &entry([9; 32], 0), 75, Arc::default())
            .await
            .err()
            .expect("refused");
        let error = format!("{error:#}");
        assert!(
            error.contains("0909") && error.contains("example.org"),
            "{error}"
        );
    }
}

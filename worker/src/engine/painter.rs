//! The engine for pictures: Stable Diffusion of `emc-inference` on a thread of its own. Pictures that are alike (model,
//! size, steps) are made together, as many as the GPU is given. Answers of other machines are checked between them.
//!
//! A model that panics (libtorch's bindings do) fails its picture and is loaded anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use emc_inference::diffusion::{ImageModel, ImageRequest, Images, Picture, Progress, Sampler};
use emc_protocol::audit::{AuditTask, Vote};
use emc_protocol::image::{ImageInput, ImageOutput, ImageProgress};
use emc_protocol::{ByteBuf, JobInput, image_audit, limits};
use tokio::sync::oneshot;

use super::EngineError;
use super::thread::{Checked, ended, unpanicked};

/// Makes a model; called on the painter's thread, again after a failure.
pub type Factory = Box<dyn FnMut() -> Result<ImageModel, EngineError> + Send>;

/// The time between two previews of one picture: not more often than the escrow takes them.
const PREVIEW: Duration = Duration::from_secs(2);
/// The most pixels that are computed on at a time: four pictures of 1024x1024. One picture may have more.
const MOST_PIXELS: u64 = 4 << 20;
/// The longest side of a preview, in pixels.
const PREVIEW_SIDE: u32 = 128;

enum Command {
    Paint(Box<Order>),
    Check(Box<Check>),
}

/// A picture to be made.
struct Order {
    input: ImageInput,
    seed: u64,
    progress: Arc<Mutex<ImageProgress>>,
    cancelled: Arc<AtomicBool>,
    done: oneshot::Sender<Result<ImageOutput, EngineError>>,
}

/// A picture of another machine to be checked.
struct Check {
    task: AuditTask,
    delivered: ImageOutput,
    done: oneshot::Sender<Result<Checked, EngineError>>,
}

/// A connection to a painter's thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub struct PainterHandle {
    commands: Sender<Command>,
}

/// A picture that is being made; dropping it cancels it.
pub struct Painting {
    progress: Arc<Mutex<ImageProgress>>,
    cancelled: Arc<AtomicBool>,
    done: oneshot::Receiver<Result<ImageOutput, EngineError>>,
}

impl PainterHandle {
    /// Starts the thread and loads the model on it. At most `together` pictures are made in one run.
    ///
    /// # Errors
    /// What the factory says, where the model cannot be loaded at all.
    pub async fn spawn(
        name: &str,
        mut factory: Factory,
        together: usize,
    ) -> Result<Self, EngineError> {
        let (commands, received) = channel();
        let (made, ready) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("painter {name}"))
            .spawn(move || match unpanicked(&mut factory) {
                Ok(model) => {
                    if made.send(Ok(())).is_ok() {
                        work(model, factory, &received, together.max(1));
                    }
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            })
            .map_err(|error| EngineError::Broken(format!("no thread for it: {error}")))?;
        ready.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(Self { commands })
    }

    /// Begins a picture, or puts it in line.
    pub fn paint(&self, input: ImageInput, seed: u64) -> Painting {
        let (progress, cancelled) = (Arc::default(), Arc::default());
        let (done, finished) = oneshot::channel();
        let order = Order {
            input,
            seed,
            progress: Arc::clone(&progress),
            cancelled: Arc::clone(&cancelled),
            done,
        };
        // Where the thread is gone, the sender goes with the order.
        let _ = self.commands.send(Command::Paint(Box::new(order)));
        Painting {
            progress,
            cancelled,
            done: finished,
        }
    }

    /// Checks a picture that another machine made, once its turn has come.
    ///
    /// # Errors
    /// [`EngineError::Unsuitable`] where this model can never check it; others may pass.
    pub async fn verify(
        &self,
        task: AuditTask,
        delivered: ImageOutput,
    ) -> Result<Checked, EngineError> {
        let (done, checked) = oneshot::channel();
        let check = Box::new(Check {
            task,
            delivered,
            done,
        });
        let _ = self.commands.send(Command::Check(check));
        checked.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Painting {
    /// How far it has come.
    pub fn so_far(&self) -> ImageProgress {
        let progress = self.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end. May be called again after it was interrupted.
    ///
    /// # Errors
    /// Where the model failed, or cannot make the picture.
    pub async fn finished(&mut self) -> Result<ImageOutput, EngineError> {
        (&mut self.done).await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Painting {
    fn drop(&mut self) {
        self.cancelled.store(true, Relaxed);
    }
}

/// Works off commands until nobody can send any more.
fn work(model: ImageModel, mut factory: Factory, commands: &Receiver<Command>, together: usize) {
    let mut model = Some(model);
    let mut line = VecDeque::new();
    loop {
        if line.is_empty() {
            match commands.recv() {
                Ok(command) => line.push_back(command),
                Err(_) => return,
            }
        }
        line.extend(commands.try_iter());
        if model.is_none() {
            model = unpanicked(&mut factory)
                .inspect_err(
                    |error| tracing::error!(%error, "the image model cannot be loaded anew"),
                )
                .ok();
        }
        let broken = match line.pop_front() {
            None => false,
            Some(Command::Paint(order)) if order.cancelled.load(Relaxed) => false,
            Some(Command::Paint(order)) => {
                let orders = match &model {
                    Some(model) => alike(model, *order, &mut line, together),
                    None => vec![*order],
                };
                fulfil(model.as_ref(), orders)
            }
            Some(Command::Check(check)) => {
                let begin = Instant::now();
                let vote = with(model.as_ref(), |model| vote(model, &check));
                let broken = matches!(vote, Err(EngineError::Broken(_)));
                let took = begin.elapsed();
                let _ = check.done.send(vote.map(|vote| Checked { vote, took }));
                broken
            }
        };
        if broken {
            model = None;
        }
    }
}

/// An order, and those in line that can be made in the same run, which leave the line.
fn alike(
    model: &ImageModel,
    first: Order,
    line: &mut VecDeque<Command>,
    most: usize,
) -> Vec<Order> {
    let wanted = request(&first.input, first.seed);
    let mut orders = vec![first];
    let Ok(wanted) = wanted else { return orders };
    let picture = u64::from(wanted.width) * u64::from(wanted.height);
    let most = most.min(usize::try_from(MOST_PIXELS / picture.max(1)).unwrap_or(1));
    for command in std::mem::take(line) {
        match command {
            Command::Paint(order)
                if orders.len() < most
                    && !order.cancelled.load(Relaxed)
                    && request(&order.input, order.seed)
                        .is_ok_and(|own| model.are_alike(&wanted, &own).unwrap_or(false)) =>
            {
                orders.push(*order);
            }
            other => line.push_back(other),
        }
    }
    orders
}

/// Makes orders that are alike; true if the model has broken. One that cannot be made must not take others with it: where
/// the run fails, each is made alone.
fn fulfil(model: Option<&ImageModel>, orders: Vec<Order>) -> bool {
    if orders.len() > 1
        && let Ok(outputs) = with(model, |model| paint(model, &orders))
    {
        for (order, output) in orders.into_iter().zip(outputs) {
            let _ = order.done.send(output);
        }
        return false;
    }
    let mut broken = false;
    for order in orders {
        let alone = std::slice::from_ref(&order);
        let output = match order.cancelled.load(Relaxed) {
            true => continue,
            false => with(model, |model| paint(model, alone)),
        };
        let output =
            output.and_then(|mut outputs| outputs.pop().unwrap_or_else(|| Err(no_picture())));
        broken |= matches!(output, Err(EngineError::Broken(_)));
        let _ = order.done.send(output);
    }
    broken
}

fn no_picture() -> EngineError {
    EngineError::Broken("it made no picture".into())
}

fn with<T>(
    model: Option<&ImageModel>,
    work: impl FnOnce(&ImageModel) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    match model {
        Some(model) => unpanicked(|| work(model)),
        None => Err(EngineError::Broken("it could not be loaded anew".into())),
    }
}

fn refusal(error: emc_inference::Error) -> EngineError {
    use emc_inference::Error;
    match error {
        Error::BadParameter(_) | Error::Unsupported(_) | Error::Tokenizer(_) => {
            EngineError::Unsuitable(error.to_string())
        }
        other => EngineError::Broken(other.to_string()),
    }
}

/// A job in the model's terms.
fn request(input: &ImageInput, seed: u64) -> Result<ImageRequest, EngineError> {
    let asked = &input.parameters;
    let picture = |png: &Option<ByteBuf>| -> Result<Option<Picture>, EngineError> {
        let read = png.as_ref().map(|png| Picture::from_png(png));
        read.transpose().map_err(refusal)
    };
    let sampler = asked.sampler.as_deref().map(str::parse::<Sampler>);
    let mut request = ImageRequest::new(input.prompt.clone(), asked.width, asked.height);
    request.negative = input.negative.clone();
    request.steps = asked.steps as usize;
    request.guidance = f64::from(asked.guidance_milli) / 1e3;
    request.sampler = sampler.transpose().map_err(refusal)?;
    request.seed = seed;
    request.clip_skip = asked.clip_skip.unwrap_or(0) as usize;
    request.strength_milli = asked.strength_milli.unwrap_or(1_000);
    request.init = picture(&input.init)?;
    request.mask = picture(&input.mask)?;
    Ok(request)
}

/// Makes orders in one run.
fn paint(
    model: &ImageModel,
    orders: &[Order],
) -> Result<Vec<Result<ImageOutput, EngineError>>, EngineError> {
    let requests: Vec<ImageRequest> = orders
        .iter()
        .map(|order| request(&order.input, order.seed))
        .collect::<Result<_, _>>()?;
    let mut shown = Instant::now();
    let images = model.generate_together(&requests, |progress| {
        let due = shown.elapsed() >= PREVIEW && progress.step < progress.steps;
        let mut previews = match due {
            true => previews(progress),
            false => vec![],
        };
        if due {
            shown = Instant::now();
        }
        previews.resize(orders.len(), None);
        for ((order, request), preview) in orders.iter().zip(&requests).zip(previews) {
            let mut so_far = order
                .progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Some samplers look twice at a step; progress counts those that are paid.
            so_far.steps_done = progress.step.min(request.steps_run()) as u32;
            if preview.is_some() {
                so_far.preview = preview;
            }
        }
        !orders.iter().all(|order| order.cancelled.load(Relaxed))
    });
    let made = images.map_err(refusal)?;
    let made = made.iter().zip(&requests).zip(orders);
    Ok(made
        .map(|((images, request), order)| output(images, request, order))
        .collect())
}

/// What is delivered of a picture.
fn output(
    images: &Images,
    request: &ImageRequest,
    order: &Order,
) -> Result<ImageOutput, EngineError> {
    let picture = images.pictures.first().ok_or_else(no_picture)?;
    let png = picture
        .to_png(Some(&request.description()))
        .map_err(refusal)?;
    if png.len() > order.input.parameters.png_bound() {
        let (length, most) = (png.len(), order.input.parameters.png_bound());
        return Err(EngineError::Unsuitable(format!(
            "the picture's file has {length} bytes, {most} are the most"
        )));
    }
    Ok(ImageOutput {
        png,
        thumbnail: small(
            picture,
            limits::IMAGE_THUMBNAIL_SIDE,
            limits::IMAGE_THUMBNAIL_BYTES,
        ),
        latent: image_audit::latent_samples(&images.latents),
    })
}

/// What there is of each picture, small.
fn previews(progress: &Progress<'_>) -> Vec<Option<ByteBuf>> {
    let pictures = progress
        .preview()
        .inspect_err(|error| tracing::debug!(%error, "no preview"))
        .unwrap_or_default();
    pictures
        .iter()
        .map(|picture| small(picture, PREVIEW_SIDE, limits::IMAGE_PREVIEW_BYTES))
        .collect()
}

/// A small copy that fits into so many bytes, if one does.
fn small(picture: &Picture, side: u32, most: usize) -> Option<ByteBuf> {
    [side, side / 2, side / 4].into_iter().find_map(|side| {
        let png = picture.thumbnail(side).to_png(None).ok()?;
        (png.len() <= most).then(|| ByteBuf::from(png))
    })
}

/// What a validator finds of a delivered picture: the job made again, and compared.
fn vote(model: &ImageModel, check: &Check) -> Result<Vote, EngineError> {
    let task = &check.task;
    let Some(JobInput::Image(input)) = &task.input else {
        return Err(EngineError::Unsuitable(
            "it is no picture that was asked for".into(),
        ));
    };
    let images = model
        .generate(&request(input, task.seed)?, |_| true)
        .map_err(refusal)?;
    let own = images.pictures.first().ok_or_else(no_picture)?;
    let theirs = Picture::from_png(&check.delivered.png).ok();
    let theirs = theirs.filter(|theirs| (theirs.width, theirs.height) == (own.width, own.height));
    let thumbnail_agrees = match (&check.delivered.thumbnail, &theirs) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(png), Some(theirs)) => Picture::from_png(png).is_ok_and(|small| {
            let (size, own) = ((theirs.width, theirs.height), (small.width, small.height));
            image_audit::thumbnail_agrees(&theirs.rgb, size, &small.rgb, own)
        }),
    };
    let agree = theirs
        .as_ref()
        .is_some_and(|theirs| image_audit::pictures_agree(&own.rgb, &theirs.rgb));
    Ok(image_audit::vote(
        &check.delivered.latent,
        &images.latents,
        &task.terms,
        &task.probes,
        theirs.is_some(),
        agree && thumbnail_agrees,
    ))
}

#[cfg(test)]
#[path = "painter_tests.rs"]
mod tests;

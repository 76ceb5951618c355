//! The world of pictures: jobs that ask for them, PNGs as far as the escrow reads them, deliveries.

use super::world::*;
use candid::Principal;
use emc_protocol::canonical;
use emc_protocol::image::*;
use emc_protocol::job::IfUnserved;
use emc_protocol::work::*;
use emc_protocol::*;

/// A PNG's frame around so many bytes that are no picture: the escrow does not look at them.
pub fn png(width: u32, height: u32, filling: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&[8, 2, 0, 0, 0, 1, 2, 3, 4]);
    bytes.extend((0..filling).map(|n| (n % 251) as u8));
    bytes.extend_from_slice(b"\0\0\0\0IEND\xae\x42\x60\x82");
    bytes
}

/// What is asked for by default: 512 x 256 pixels in ten steps, 1,310,720 pixel-steps.
pub fn lighthouse() -> ImageInput {
    ImageInput {
        prompt: "a lighthouse in the evening".into(),
        parameters: ImageParameters {
            width: 512,
            height: 256,
            steps: 10,
            guidance_milli: 7_500,
            ..ImageParameters::default()
        },
        ..ImageInput::default()
    }
}

/// A job for a picture, that may cost 0.01 EMC.
pub fn paint(input: ImageInput) -> SubmitJob {
    SubmitJob {
        model: ModelRef {
            version: None,
            ..painter()
        },
        input: JobInput::Image(input),
        parameters: Parameters::unused(),
        if_unserved: Some(IfUnserved::Queue),
        ..ask("", 1)
    }
}

/// A result of the size that a lease asks for, with a thumbnail.
pub fn painted(lease: &Lease, filling: usize) -> ImageOutput {
    let p = asked(lease);
    ImageOutput {
        png: png(p.width, p.height, filling),
        thumbnail: Some(png(128, 64, 50).into()),
        latent: (0..limits::IMAGE_LATENT as i32)
            .map(|n| n * 7 - 900)
            .collect(),
    }
}

/// How a lease's picture is to be made.
pub fn asked(lease: &Lease) -> ImageParameters {
    let input = lease.input.as_ref().and_then(JobInput::image);
    input.expect("a lease of a picture").parameters.clone()
}

impl World {
    /// A world whose requester has 10 EMC.
    pub fn of_pictures() -> Self {
        let mut world = Self::new();
        world.fund(requester(0), Tokens::emc(10).0);
        world
    }

    pub fn claim_picture(&mut self, node: usize, max: u32) -> Result<Vec<Lease>, ApiError> {
        let models = vec![painter()];
        let args = ClaimArgs { models, max };
        crate::claim::claim(&mut self.state, self.now, self.nodes[node].id, &args)
    }

    /// A picture that a node has to make.
    pub fn leased_picture(&mut self, node: usize, input: ImageInput) -> Lease {
        self.submit(requester(0), paint(input)).expect("accepted");
        let leases = self.claim_picture(node, 1).expect("accepted");
        leases.into_iter().next().expect("a job waits")
    }

    /// A delivery that is right in every respect, signed by the node.
    pub fn image_delivery(&self, node: usize, lease: &Lease, output: &ImageOutput) -> DeliverArgs {
        let usage = asked(lease).usage();
        let bytes = canonical::image_output_bytes(output);
        let mut args = DeliverArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            output: None,
            output_hash: canonical::output_hash(&lease.salt, &bytes).to_vec(),
            usage,
            charge: Tokens(0),
            signature: vec![],
            image: Some(output.clone()),
        };
        self.price_and_sign(node, lease, &mut args);
        args
    }

    /// Charges what the usage costs and signs a delivery anew.
    pub fn price_and_sign(&self, node: usize, lease: &Lease, args: &mut DeliverArgs) {
        let charge = lease.price.charge(&args.usage).expect("small numbers");
        args.charge = charge.min(lease.max_charge);
        // A picture ends like a text with its end token.
        self.sign(node, lease, &answer(0), args);
    }

    /// Shows how far a picture has come.
    pub fn show_steps(
        &mut self,
        node: usize,
        lease: &Lease,
        steps_done: u32,
        preview: Option<Vec<u8>>,
    ) -> Result<ExtendReply, ApiError> {
        let image = ImageProgress {
            steps_done,
            preview: preview.map(ByteBuf::from),
        };
        self.extend_picture(node, lease, Some(image))
    }

    pub fn extend_picture(
        &mut self,
        node: usize,
        lease: &Lease,
        image: Option<ImageProgress>,
    ) -> Result<ExtendReply, ApiError> {
        let args = ExtendArgs {
            job_id: lease.job_id,
            attempt: lease.attempt,
            prompt_tokens: 0,
            from: 0,
            ids: vec![],
            text: String::new(),
            image,
        };
        crate::lease::extend(&mut self.state, self.now, self.nodes[node].id, args)
    }

    /// Uploads a picture in chunks of so many bytes.
    pub fn upload_picture(
        &mut self,
        node: usize,
        lease: &Lease,
        output: &ImageOutput,
        size: usize,
    ) -> Result<(), ApiError> {
        let bytes = canonical::image_output_bytes(output);
        for (number, part) in bytes.chunks(size).enumerate() {
            self.chunk(node, lease, (number * size) as u64, part)?;
        }
        Ok(())
    }

    /// A part of a result, as a caller may read it.
    pub fn part(
        &self,
        caller: Principal,
        job_id: JobId,
        offset: u64,
        capability: Option<Vec<u8>>,
    ) -> Result<ResultPart, ApiError> {
        let args = ResultPartArgs {
            job_id,
            offset,
            capability: capability.map(ByteBuf::from),
        };
        crate::view::result_part(&self.state, caller, &args)
    }
}

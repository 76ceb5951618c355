//! What random sequences do with pictures: ask, claim, show steps, deliver, rightly and wrongly.

use super::pictures::*;
use super::sequences::{Run, label};
use super::world::*;
use emc_protocol::*;

impl Run {
    /// Something that happens to pictures only. Cancelling, lapses, deadlines, audits and time come as for texts.
    pub(super) fn act_on_pictures(&mut self) -> (&'static str, String) {
        let chosen = match self.pictures.is_empty() {
            true => self.chance.below(6),
            false => self.chance.below(14),
        };
        match chosen {
            0 | 1 => self.submit_picture(),
            2..6 => self.claim_pictures(),
            6..9 => self.show_steps(),
            9..12 => self.deliver_picture(),
            _ => self.deliver_picture_wrongly(),
        }
    }

    fn submit_picture(&mut self) -> (&'static str, String) {
        let mut input = lighthouse();
        let p = &mut input.parameters;
        (p.width, p.height) = (64 * (1 + self.chance.below(8) as u32), 64);
        p.steps = 1 + self.chance.below(60) as u32;
        let size = (p.width, p.height);
        if self.chance.one_in(4) {
            p.strength_milli = Some(1 + self.chance.below(1_000) as u32);
            input.init = Some(png(size.0, size.1, 9).into());
        }
        let mut job = paint(input);
        job.max_price = Tokens(1 + u128::from(self.chance.below(700_000)));
        job.deadline = Some(Seconds(10 + self.chance.below(2_000)));
        if self.world.terms.is_some() && self.chance.one_in(3) {
            job.assurance = Some(match self.chance.below(2) {
                0 => Assurance::Sampled,
                _ => Assurance::Always,
            });
            job.max_price.0 += 900_000;
        }
        let who = requester(self.chance.below(3) as u8);
        ("submit a picture", label(&self.world.submit(who, job)))
    }

    fn claim_pictures(&mut self) -> (&'static str, String) {
        let (node, max) = (self.chance.below(4) as usize, self.chance.below(4) as u32);
        let result = self.world.claim_picture(node, max);
        let outcome = match &result {
            Ok(leases) if leases.is_empty() => "nothing fits".into(),
            other => label(other),
        };
        let leases = result.unwrap_or_default().into_iter();
        // While a probe round is open, a node gets jobs of it first; none of them is a picture.
        let (pictures, others) = leases.partition::<Vec<_>, _>(|lease| lease.model == painter());
        assert!(others.is_empty(), "only what was asked for");
        self.pictures
            .extend(pictures.into_iter().map(|lease| (node, lease)));
        ("claim pictures", outcome)
    }

    fn some_picture(&mut self) -> (usize, Lease) {
        let from = self.pictures.len().saturating_sub(4);
        let newest = self.chance.pick(&self.pictures[from..]);
        newest.cloned().expect("there are leases")
    }

    fn show_steps(&mut self) -> (&'static str, String) {
        let (node, lease) = self.some_picture();
        let steps = self.chance.below(u64::from(asked(&lease).steps_run()) + 2) as u32;
        let preview = self.chance.one_in(2).then(|| png(32, 32, 9));
        let result = self.world.show_steps(node, &lease, steps, preview);
        ("show steps", label(&result))
    }

    fn deliver_picture(&mut self) -> (&'static str, String) {
        let (node, lease) = self.some_picture();
        let output = painted(&lease, self.chance.below(300) as usize);
        let mut args = self.world.image_delivery(node, &lease, &output);
        if self.chance.one_in(3) {
            if let Err(error) = self.world.upload_picture(node, &lease, &output, 700) {
                return ("upload a picture", error.code);
            }
            args.image = None;
        }
        let result = self.world.deliver(node, &args);
        if result.is_ok() {
            let price = lease.price.charge(&args.usage).expect("small numbers");
            let job = self.world.job(lease.job_id);
            assert_eq!(job.charge.or(job.charged), Some(price), "exactly its price");
        }
        let outcome = self.delivered(lease.job_id, &result);
        ("deliver a picture", outcome)
    }

    fn deliver_picture_wrongly(&mut self) -> (&'static str, String) {
        let (node, lease) = self.some_picture();
        let mut output = painted(&lease, 20);
        match self.chance.below(4) {
            0 => output.png = png(8, 8, 20),
            1 => output.png.clear(),
            2 => output.latent.truncate(7),
            _ => {}
        }
        let right = output == painted(&lease, 20);
        let mut args = self.world.image_delivery(node, &lease, &output);
        match self.chance.below(4) {
            _ if !right => {}
            0 => args.usage.pixel_steps += 1,
            1 => args.output_hash[0] ^= 1,
            2 => args.output = Some(answer(3)),
            _ => args.signature[9] ^= 1,
        }
        let result = self.world.deliver(node, &args);
        assert!(result.is_err(), "a wrong picture was accepted");
        ("deliver a picture wrongly", label(&result))
    }
}

//! Records that were written before there were pictures still read, and mean what they meant.

use super::pictures::*;
use super::world::*;
use crate::records::*;
use crate::stored::encode;
use emc_protocol::model::Task;
use emc_protocol::*;
use minicbor::Encode;

/// The first fields of a record, as an older version wrote them.
fn older<T: Encode<()>>(record: &T, fields: u64) -> Vec<u8> {
    let bytes = encode(record);
    let mut decoder = minicbor::Decoder::new(&bytes);
    let written = decoder.array().unwrap().unwrap();
    let mut encoder = minicbor::Encoder::new(vec![]);
    encoder.array(written.min(fields)).unwrap();
    let mut older = encoder.into_writer();
    let from = decoder.position();
    for _ in 0..written.min(fields) {
        decoder.skip().unwrap();
    }
    older.extend_from_slice(&bytes[from..decoder.position()]);
    older
}

#[test]
fn a_record_of_before_there_were_pictures_still_reads() {
    let mut world = World::new();
    let lease = world.leased_job(0);
    world.extend(0, &lease, 0, &[1, 2], "a b").unwrap();
    let job = world.job(lease.job_id);
    assert_eq!(
        minicbor::decode::<JobRecord>(&older(&job, 35)).unwrap(),
        job
    );
    assert_eq!((job.image.as_ref(), job.pixel_steps()), (None, 0));
    let progress = job.progress.unwrap();
    assert_eq!(
        minicbor::decode::<Progress>(&older(&progress, 3)).unwrap(),
        progress
    );
    let preview = world.state.previews.get(&lease.job_id).unwrap();
    assert_eq!(
        minicbor::decode::<PreviewRecord>(&older(&preview, 2)).unwrap(),
        preview
    );
    let id = world.open_job();
    let open = world.state.open.get(&(job.model, id)).unwrap();
    assert_eq!(
        minicbor::decode::<OpenRecord>(&older(&open, 6)).unwrap(),
        open
    );
    let waiting = world.state.waiting.get(&job.model).unwrap();
    assert_eq!(
        minicbor::decode::<WaitingRecord>(&older(&waiting, 2)).unwrap(),
        waiting
    );
    let settings = world.state.config().settings.clone();
    assert_eq!(
        minicbor::decode::<SettingsRecord>(&older(&settings, 11)).unwrap(),
        settings
    );
}

#[test]
fn a_model_of_before_there_were_pictures_takes_them_unless_it_answers_texts() {
    let world = World::new();
    let entry = |id: &str| {
        let key = crate::submit::model_key(id, 1);
        let number = world.state.model_numbers.get(&key).unwrap();
        let entry = world.state.models.get(&number).unwrap().entry.unwrap();
        minicbor::decode::<CatalogueRecord>(&older(&entry, 8)).unwrap()
    };
    let (chat, painter) = (entry(MODEL), entry("painter"));
    assert_eq!((chat.image, painter.image), (None, None));
    assert!(chat.does(Task::Chat) && !chat.does(Task::Image));
    assert!(painter.does(Task::Image) && !painter.does(Task::Chat));
    assert!(!painter.does(Task::Embedding));
}

#[test]
fn a_picture_survives_an_upgrade() {
    let mut world = World::of_pictures();
    let mut input = lighthouse();
    input.negative = Some("fog".into());
    input.parameters.sampler = Some("euler_a".into());
    input.parameters.clip_skip = Some(1);
    input.parameters.strength_milli = Some(700);
    input.init = Some(png(512, 256, 9).into());
    let lease = world.leased_picture(0, input);
    world
        .show_steps(0, &lease, 3, Some(png(64, 32, 9)))
        .unwrap();
    let before = world.job(lease.job_id);
    world.upgrade();
    assert_eq!(world.job(lease.job_id), before);
    assert_eq!(asked(&lease), (before.image.as_ref().unwrap()).into());
    assert_eq!(before.progress.unwrap().steps, 3);
    let args = world.image_delivery(0, &lease, &painted(&lease, 9));
    world.deliver(0, &args).unwrap();
    assert_eq!(world.job(lease.job_id).charged, Some(Tokens(183_501)));
}

//! Where delivered pictures lie: in slots of one page each, written once and given free at the end of their retention. A
//! B-tree would write a picture's neighbours, megabytes each, with every change beside them; here a picture costs its own
//! length, whatever else is stored.
//!
//! | memory | holds |
//! |---|---|
//! | slots | slot n at n x 65,536; the memory grows by one where none is free |
//! | places | for each job: the picture's length and its slots, in order |
//! | free | the slots that hold nothing any more |

use crate::state::{Map, Mem};
use crate::stored::stored;
use emc_protocol::JobId;
use ic_stable_structures::{Memory, StableVec};
use minicbor::{Decode, Encode};

/// Bytes of a slot: a page of the memory.
const SLOT: usize = 65_536;

/// Where a picture lies.
#[derive(Encode, Decode, Clone, Debug, PartialEq)]
struct Place {
    #[n(0)]
    length: u64,
    #[n(1)]
    slots: Vec<u32>,
}

stored!(Place);

/// The canonical bytes of delivered pictures.
pub struct Pictures {
    slots: Mem,
    places: Map<JobId, Place>,
    free: StableVec<u32, Mem>,
}

impl Pictures {
    /// Opens the store in its memories.
    pub fn init(slots: Mem, places: Mem, free: Mem) -> Self {
        Self {
            slots,
            places: Map::init(places),
            free: StableVec::init(free),
        }
    }

    /// How many pictures there are.
    pub fn len(&self) -> u64 {
        self.places.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Length of a job's picture, where it has one.
    pub fn length(&self, job: JobId) -> Option<u64> {
        self.places.get(&job).map(|place| place.length)
    }

    /// Keeps a job's picture.
    pub fn put(&mut self, job: JobId, bytes: &[u8]) {
        self.remove(job);
        let slots = bytes.chunks(SLOT).map(|part| {
            let slot = self.free.pop().unwrap_or_else(|| {
                let grown = self.slots.grow(1);
                u32::try_from(grown).expect("stable memory can grow to its limit of 500 GiB")
            });
            self.slots.write(at(slot), part);
            slot
        });
        let place = Place {
            slots: slots.collect(),
            length: bytes.len() as u64,
        };
        self.places.insert(job, place);
    }

    /// Part of a job's picture, as far as there is any; `None` where it has none.
    pub fn read(&self, job: JobId, from: u64, most: usize) -> Option<Vec<u8>> {
        let place = self.places.get(&job)?;
        let length = place.length as usize;
        let mut from = usize::try_from(from).map_or(length, |from| from.min(length));
        let to = from.saturating_add(most).min(length);
        let mut bytes = vec![0; to - from];
        let mut left = bytes.as_mut_slice();
        while from < to {
            let within = from % SLOT;
            let (part, rest) = left.split_at_mut((SLOT - within).min(to - from));
            let slot = place.slots.get(from / SLOT)?;
            self.slots.read(at(*slot) + within as u64, part);
            from += part.len();
            left = rest;
        }
        Some(bytes)
    }

    /// Deletes a job's picture, where it has one.
    pub fn remove(&mut self, job: JobId) {
        let place = self.places.remove(&job);
        for slot in place.into_iter().flat_map(|place| place.slots) {
            self.free.push(&slot);
        }
    }
}

fn at(slot: u32) -> u64 {
    u64::from(slot) * SLOT as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_stable_structures::DefaultMemoryImpl;
    use ic_stable_structures::memory_manager::{MemoryId, MemoryManager};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn open(memory: &DefaultMemoryImpl) -> Pictures {
        let manager = MemoryManager::init_with_bucket_size(memory.clone(), 1);
        let get = |id| manager.get(MemoryId::new(id));
        Pictures::init(get(0), get(1), get(2))
    }

    fn picture(length: usize, seed: u8) -> Vec<u8> {
        let byte = |n: usize| (n % 251) as u8 ^ seed;
        (0..length).map(byte).collect()
    }

    #[test]
    fn slots_are_used_again() {
        let memory = DefaultMemoryImpl::default();
        let mut store = open(&memory);
        for job in 0..20 {
            store.put(job, &picture(3 * SLOT + 1, job as u8));
            store.remove(job);
        }
        assert!(store.is_empty());
        assert_eq!((store.slots.size(), store.free.len()), (4, 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_kept_is_read_back_whatever_comes_and_goes(
            actions in prop::collection::vec((0u64..6, any::<bool>(), prop_oneof![0usize..200, 0usize..4 * SLOT], any::<u8>()), 1..20),
            from in 0u64..300_000, most in 0usize..200_000,
        ) {
            let memory = DefaultMemoryImpl::default();
            let mut store = open(&memory);
            let mut expected = BTreeMap::new();
            for (job, keep, length, seed) in actions {
                if keep {
                    store.put(job, &picture(length, seed));
                    expected.insert(job, picture(length, seed));
                } else {
                    store.remove(job);
                    expected.remove(&job);
                }
            }
            // What lies in the memory is all that there is.
            let store = open(&memory);
            prop_assert_eq!(store.len(), expected.len() as u64);
            for job in 0..6 {
                let bytes = expected.get(&job);
                prop_assert_eq!(store.length(job), bytes.map(|bytes| bytes.len() as u64));
                prop_assert_eq!(store.read(job, 0, usize::MAX), bytes.cloned());
                let part = bytes.map(|bytes| {
                    let from = (from as usize).min(bytes.len());
                    bytes[from..(from + most).min(bytes.len())].to_vec()
                });
                prop_assert_eq!(store.read(job, from, most), part);
            }
        }
    }
}

//! Where keys and values of all sequences lie: pages of equal size, handed to sequences as they grow (Kwon et al., 2023,
//! arXiv:2309.06180).
//!
//! A page whose positions are all filled is known by the tokens up to its end. A sequence that begins with the same tokens
//! uses it too, so that a shared prompt is computed once. Pages that nobody uses stay known until their place is needed.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::config::Config;
use crate::error::Result;

/// Positions of one page.
pub(crate) const PAGE: usize = 16;

/// Stands for the tokens from a sequence's first on.
type Prefix = [u8; 32];

/// The memory, and who uses it.
pub(crate) struct Pool {
    /// For each layer keys and values: [pages x PAGE, kv_heads, head_width].
    pub(super) layers: Vec<(Tensor, Tensor)>,
    pages: Vec<Page>,
    /// Pages that nobody uses, by when they were last used; those that hold nothing known come first.
    idle: BTreeMap<u64, u32>,
    known: HashMap<Prefix, u32>,
    clock: u64,
}

#[derive(Clone, Default)]
struct Page {
    users: u32,
    /// What it holds, once it is full.
    prefix: Option<Prefix>,
    /// Its place among the idle ones.
    since: u64,
}

/// The pages of one sequence.
pub(crate) struct Cache {
    pub(super) pages: Vec<u32>,
    /// Positions that are filled.
    pub(super) used: usize,
    /// Prefix of the pages that are full.
    prefix: Prefix,
    /// Tokens after them.
    rest: Vec<u32>,
    /// How many pages are full and known.
    sealed: usize,
    /// True for a sequence that is turned by the factors for long ones.
    pub(super) is_long: bool,
}

impl Cache {
    /// Positions that are filled.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Pages that it has.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl Pool {
    /// Memory for so many positions, rounded up to whole pages. The system gives it as it is first written to.
    pub(crate) fn new(
        config: &Config,
        positions: usize,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let count = positions.div_ceil(PAGE).max(1);
        let shape = [(count * PAGE) as i64, config.kv_heads, config.head_width];
        let part = || Tensor::f_empty(shape, (kind, device));
        let layers = config.layers.iter().map(|_| Ok((part()?, part()?)));
        let layers = layers.collect::<Result<_>>()?;
        let mut pool = Self {
            layers,
            pages: vec![Page::default(); count],
            idle: BTreeMap::new(),
            known: HashMap::new(),
            clock: 0,
        };
        // The first page is the first to be used.
        (0..count as u32).for_each(|page| pool.lay_idle(page));
        Ok(pool)
    }

    /// Pages in all.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Pages that a sequence could have.
    pub(crate) fn free(&self) -> usize {
        self.idle.len()
    }

    /// A sequence that begins with these tokens. What is known of them is used, up to the last but one: something has to
    /// be computed for there to be logits.
    pub(crate) fn begin(&mut self, tokens: &[u32], is_long: bool) -> Cache {
        let mut cache = Cache {
            pages: Vec::new(),
            used: 0,
            prefix: [u8::from(is_long); 32],
            rest: Vec::new(),
            sealed: 0,
            is_long,
        };
        let last = tokens.len().saturating_sub(1);
        for page_tokens in tokens[..last].chunks_exact(PAGE) {
            let next = extended(&cache.prefix, page_tokens);
            let Some(&page) = self.known.get(&next) else {
                break;
            };
            self.take(page);
            cache.pages.push(page);
            cache.prefix = next;
            cache.sealed += 1;
            cache.used += PAGE;
        }
        cache
    }

    /// Pages that it takes to grow by so many positions.
    pub(crate) fn needed(&self, cache: &Cache, count: usize) -> usize {
        (cache.used + count)
            .div_ceil(PAGE)
            .saturating_sub(cache.pages.len())
    }

    /// Gives the sequence room for so many further positions; false if there is not enough, and nothing changes then.
    pub(crate) fn reserve(&mut self, cache: &mut Cache, count: usize) -> bool {
        let needed = self.needed(cache, count);
        if needed > self.idle.len() {
            return false;
        }
        for _ in 0..needed {
            let Some((_, page)) = self.idle.pop_first() else {
                return false;
            };
            if let Some(prefix) = self.pages[page as usize].prefix.take() {
                self.known.remove(&prefix);
            }
            self.pages[page as usize].users = 1;
            cache.pages.push(page);
        }
        true
    }

    /// Notes that the sequence's next positions are filled with what these tokens gave.
    pub(super) fn filled(&mut self, cache: &mut Cache, tokens: &[u32]) {
        cache.used += tokens.len();
        cache.rest.extend_from_slice(tokens);
        let full = cache.rest.len() / PAGE * PAGE;
        let rest = cache.rest.split_off(full);
        for page_tokens in std::mem::replace(&mut cache.rest, rest).chunks_exact(PAGE) {
            cache.prefix = extended(&cache.prefix, page_tokens);
            let page = cache.pages[cache.sealed];
            cache.sealed += 1;
            // Another sequence may have computed the same meanwhile: its page stays the known one.
            self.known.entry(cache.prefix).or_insert_with(|| {
                self.pages[page as usize].prefix = Some(cache.prefix);
                page
            });
        }
    }

    /// Takes the sequence's pages back.
    pub(crate) fn end(&mut self, cache: Cache) {
        // The later pages are of less use to others, and so go first.
        for page in cache.pages.into_iter().rev() {
            let users = &mut self.pages[page as usize].users;
            *users -= 1;
            if *users == 0 {
                self.lay_idle(page);
            }
        }
    }

    fn take(&mut self, page: u32) {
        let state = &mut self.pages[page as usize];
        if state.users == 0 {
            self.idle.remove(&state.since);
        }
        state.users += 1;
    }

    fn lay_idle(&mut self, page: u32) {
        self.clock += 1;
        // Pages that hold nothing known are taken before all others.
        let known = u64::from(self.pages[page as usize].prefix.is_some());
        self.pages[page as usize].since = known << 63 | self.clock;
        self.idle.insert(known << 63 | self.clock, page);
    }
}

impl Cache {
    /// Where the positions from `from` to `to` lie in the pool's tensors.
    pub(super) fn slots(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + '_ {
        (from..to).map(|at| self.pages[at / PAGE] as usize * PAGE + at % PAGE)
    }
}

fn extended(prefix: &Prefix, tokens: &[u32]) -> Prefix {
    let mut hash = Sha256::new();
    hash.update(prefix);
    tokens.iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::tests::tiny_config;
    use proptest::prelude::*;

    fn pool(positions: usize) -> Pool {
        Pool::new(&tiny_config(), positions, tch::Device::Cpu, Kind::Float).expect("memory")
    }

    fn fill(pool: &mut Pool, tokens: &[u32]) -> Option<Cache> {
        let mut cache = pool.begin(tokens, false);
        let rest = &tokens[cache.used()..];
        if !pool.reserve(&mut cache, rest.len()) {
            pool.end(cache);
            return None;
        }
        pool.filled(&mut cache, rest);
        Some(cache)
    }

    #[test]
    fn a_shared_beginning_is_computed_once_and_stays_known() {
        let mut pool = pool(PAGE * 8);
        let tokens: Vec<u32> = (0..PAGE as u32 * 3).collect();
        let first = fill(&mut pool, &tokens).expect("room");
        assert_eq!(pool.free(), 5);
        let second = pool.begin(&tokens, false);
        // The last token is always computed, and with it its page.
        assert_eq!((second.used(), pool.free()), (PAGE * 2, 5));
        assert_eq!(second.pages[..], first.pages[..2]);
        assert_eq!(pool.begin(&tokens, true).used(), 0);
        let mut other = tokens.clone();
        other[0] += 1;
        assert_eq!(pool.begin(&other, false).used(), 0);
        pool.end(first);
        assert_eq!(pool.free(), 6);
        pool.end(second);
        assert_eq!(pool.free(), 8);
        assert_eq!(pool.begin(&tokens, false).used(), PAGE * 2);
    }

    #[test]
    fn what_is_known_gives_way_to_what_is_needed() {
        let mut pool = pool(PAGE * 2);
        let old: Vec<u32> = (0..PAGE as u32 * 2).collect();
        let cache = fill(&mut pool, &old).expect("room");
        assert!(fill(&mut pool, &[7]).is_none());
        pool.end(cache);
        let new: Vec<u32> = (1000..1000 + PAGE as u32 * 2).collect();
        let cache = fill(&mut pool, &new).expect("room again");
        assert_eq!(pool.begin(&old, false).used(), 0);
        pool.end(cache);
    }

    proptest! {
        /// Sequences over few different tokens, so that many begin alike, come, grow and go.
        #[test]
        fn no_page_is_lost_or_given_twice(steps in prop::collection::vec((0u8..3, 0u32..2, 1usize..100), 1..60)) {
            let mut pool = pool(PAGE * 12);
            let mut running: Vec<(Vec<u32>, Cache)> = Vec::new();
            for (what, token, count) in steps {
                match what {
                    0 => {
                        let tokens = vec![token; count];
                        if let Some(cache) = fill(&mut pool, &tokens) {
                            running.push((tokens, cache));
                        }
                    }
                    1 if !running.is_empty() => {
                        let at = count % running.len();
                        let (tokens, cache) = &mut running[at];
                        if pool.reserve(cache, count) {
                            let new = vec![token; count];
                            pool.filled(cache, &new);
                            tokens.extend(new);
                        }
                    }
                    2 if !running.is_empty() => {
                        let (_, cache) = running.remove(count % running.len());
                        pool.end(cache);
                    }
                    _ => {}
                }
                let mut users = vec![0; pool.pages()];
                for (tokens, cache) in &running {
                    prop_assert_eq!(cache.used(), tokens.len());
                    prop_assert!(cache.pages.len() * PAGE >= tokens.len());
                    for &page in &cache.pages {
                        users[page as usize] += 1;
                    }
                }
                for (page, users) in users.iter().enumerate() {
                    prop_assert_eq!(pool.pages[page].users, *users);
                }
                prop_assert_eq!(pool.free(), users.iter().filter(|&&users| users == 0).count());
                for (prefix, &page) in &pool.known {
                    prop_assert_eq!(pool.pages[page as usize].prefix.as_ref(), Some(prefix));
                }
                // A page that is written to belongs to one sequence alone.
                for (_, cache) in &running {
                    for &page in &cache.pages[cache.sealed..] {
                        prop_assert_eq!(users[page as usize], 1);
                    }
                }
            }
        }
    }
}

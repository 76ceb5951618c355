//! Attention of several sequences at once: each token looks at its own sequence's keys and values in the pool.

use std::cell::RefCell;
use std::ops::Range;

use tch::{Kind, Tensor};

use super::config::Config;
use super::rotary::{Layout, Table};
use super::{Layer, PAGE, Part, steps};
use crate::error::{Error, Result};
use crate::kernels::steps as passes;
use crate::slices::{self, Places, floats};
use crate::threads::team;

/// Rows of a prompt that one thread takes at a time.
const BLOCK: usize = 8;

thread_local! {
    /// Kept, so that nothing is allocated for every piece.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread needs while it mixes values.
#[derive(Default)]
struct Scratch {
    /// Those of some heads of some rows.
    queries: Vec<f32>,
    /// The positions that each of them sees.
    ranges: Vec<Range<usize>>,
    /// How well each matches them.
    scores: Vec<f32>,
    /// The values, mixed by that.
    mixed: Vec<f32>,
}

/// What all layers need to know of the rows that are computed together.
pub(super) struct Rows<'a> {
    config: &'a Config,
    tables: &'a [[Table; 2]],
    sequences: Vec<Sequence>,
    /// Each row's position in its sequence.
    positions: Vec<i64>,
    /// Each row's place in the pool.
    places: Vec<usize>,
    /// The same, where the model computes.
    slots: Tensor,
    device: tch::Device,
    kind: Kind,
}

/// Rows of one sequence.
struct Sequence {
    /// Its first row.
    first: i64,
    /// Its number of rows.
    count: i64,
    /// Positions before them.
    past: i64,
    /// Where all its positions lie, those of the new rows too.
    places: Vec<usize>,
    /// The same, where the model computes.
    slots: Slots,
    is_long: bool,
}

/// Places in the pool.
enum Slots {
    /// A run of places.
    Run(i64),
    /// Anywhere.
    Each(Tensor),
}

impl Sequence {
    /// The pages from that of position `from` on.
    fn pages(&self, from: usize) -> Vec<usize> {
        let places = self.places[from / PAGE * PAGE..].iter();
        places.step_by(PAGE).map(|place| place / PAGE).collect()
    }

    /// Keys that lie column by column within their pages, position by position: [count, kv_heads, head_width].
    fn keys_by_position(&self, keys: &Tensor, from: i64, count: i64) -> Result<Tensor> {
        let size = keys.size();
        let (kv_heads, head_width) = (size[1], size[2]);
        let pages = keys.f_view([-1, kv_heads, head_width, PAGE as i64])?;
        let own: Vec<i64> = self
            .pages(from as usize)
            .iter()
            .map(|&page| page as i64)
            .collect();
        let own = pages.f_index_select(0, &Tensor::f_from_slice(&own)?)?;
        let positions = own.f_permute([0, 3, 1, 2])?;
        let positions = positions.f_reshape([-1, kv_heads, head_width])?;
        Ok(positions.f_narrow(0, from % PAGE as i64, count)?)
    }
}

impl<'a> Rows<'a> {
    /// Lays out the rows of all parts.
    pub(super) fn of(
        parts: &[Part<'_>],
        config: &'a Config,
        tables: &'a [[Table; 2]],
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let mut sequences = Vec::new();
        let (mut positions, mut slots) = (Vec::new(), Vec::new());
        for part in parts {
            let (past, count) = (part.cache.used, part.ids.len());
            let end = past + count;
            if end > part.cache.pages.len() * PAGE {
                return Err(Error::BadParameter(
                    "there is no room for the tokens of a sequence".into(),
                ));
            }
            let places: Vec<usize> = part.cache.slots(0, end).collect();
            let all: Vec<i64> = places.iter().map(|&slot| slot as i64).collect();
            let is_run = all.windows(2).all(|pair| pair[1] == pair[0] + 1);
            sequences.push(Sequence {
                first: positions.len() as i64,
                count: count as i64,
                past: past as i64,
                slots: match (is_run, all.first()) {
                    (true, Some(&first)) => Slots::Run(first),
                    _ => Slots::Each(Tensor::f_from_slice(&all)?.f_to_device(device)?),
                },
                is_long: part.cache.is_long,
                places,
            });
            slots.extend_from_slice(&all[past..]);
            positions.extend(past as i64..end as i64);
        }
        Ok(Self {
            config,
            tables,
            sequences,
            positions,
            places: slots.iter().map(|&slot| slot as usize).collect(),
            slots: Tensor::f_from_slice(&slots)?.f_to_device(device)?,
            device,
            kind,
        })
    }

    /// Turns queries and keys, appends keys and values to the pool, and mixes the values: [rows, heads x head_width].
    pub(super) fn attend(
        &self,
        layer: &Layer,
        qkv: &Tensor,
        (keys, values): &mut (Tensor, Tensor),
    ) -> Result<Tensor> {
        let &Config {
            heads,
            kv_heads,
            head_width,
            ..
        } = self.config;
        let count = self.positions.len() as i64;
        if steps::is_plain(qkv) {
            return self.attend_plain(layer, qkv.f_contiguous()?, (keys, values));
        }
        let split = qkv.f_reshape([count, heads + 2 * kv_heads, head_width])?;
        let mut queries = split.f_narrow(1, 0, heads)?;
        let mut new_keys = split.f_narrow(1, heads, kv_heads)?;
        let new_values = split.f_narrow(1, heads + kv_heads, kv_heads)?;
        let epsilon = self.config.epsilon;
        if let Some(norm) = &layer.query_norm {
            queries = steps::rms(&queries, norm, epsilon)?;
        }
        if let Some(norm) = &layer.key_norm {
            new_keys = steps::rms(&new_keys, norm, epsilon)?;
        }
        let both = Tensor::f_cat(&[queries, new_keys], 1)?;
        let turned = self.turned(&both, layer.kind.rotary)?;
        let queries = turned.f_narrow(1, 0, heads)?;
        let new_keys = turned.f_narrow(1, heads, kv_heads)?;
        let _ = keys.f_index_copy_(0, &self.slots, &new_keys)?;
        let _ = values.f_index_copy_(0, &self.slots, &new_values)?;

        let mut mixed = Vec::new();
        for sequence in &self.sequences {
            let queries = queries.f_narrow(0, sequence.first, sequence.count)?;
            mixed.push(self.mix(sequence, &queries, keys, values, layer.kind.window)?);
        }
        Ok(match mixed.as_slice() {
            [only] => only.shallow_clone(),
            several => Tensor::f_cat(several, 0)?,
        })
    }

    /// As [`attend`](Self::attend), in passes over slices of f32.
    fn attend_plain(
        &self,
        layer: &Layer,
        qkv: Tensor,
        (keys, values): (&Tensor, &Tensor),
    ) -> Result<Tensor> {
        let config = self.config;
        let (heads, kv_heads, width) = (
            config.heads as usize,
            config.kv_heads as usize,
            config.head_width as usize,
        );
        let (row_length, kv_row) = ((heads + 2 * kv_heads) * width, kv_heads * width);
        let (q_end, k_end) = (heads * width, (heads + kv_heads) * width);
        let epsilon = config.epsilon as f32;
        let norm = |weight: &Option<Tensor>| -> Result<Option<Vec<f32>>> {
            Ok(weight.as_ref().map(Vec::try_from).transpose()?)
        };
        let (query_norm, key_norm) = (norm(&layer.query_norm)?, norm(&layer.key_norm)?);

        // 1. Normalise and turn queries and keys in their place, and append keys and values to the pool.
        let (places, key_places, value_places) =
            (Places::of(&qkv)?, Places::of(keys)?, Places::of(values)?);
        for sequence in &self.sequences {
            let table = &self.tables[layer.kind.rotary][usize::from(sequence.is_long)];
            let rotary = table.rotary();
            let pairs = (rotary.width / 2) as usize;
            let (first, count) = (sequence.first as usize, sequence.count as usize);
            let last = self.positions[first + count - 1] as usize;
            let turn = match rotary.layout {
                Layout::Halves => passes::turn_halves,
                Layout::Neighbours => passes::turn_neighbours,
            };
            let (slots, positions) = (&self.places, &self.positions);
            table.with(last, |angles| {
                team().run(count, &|index| {
                    let at = first + index;
                    // SAFETY: each piece has a row of its own, and a place in the pool of its own.
                    let (qkv, value) = unsafe {
                        (
                            places.range(at * row_length, row_length),
                            value_places.range(slots[at] * kv_row, kv_row),
                        )
                    };
                    if let Some(weight) = &query_norm {
                        passes::rms_in_place(&mut qkv[..q_end], weight, epsilon);
                    }
                    if let Some(weight) = &key_norm {
                        passes::rms_in_place(&mut qkv[q_end..k_end], weight, epsilon);
                    }
                    let angles = &angles[positions[at] as usize * 2 * pairs..][..2 * pairs];
                    let (cosines, sines) = angles.split_at(pairs);
                    turn(&mut qkv[..k_end], width, cosines, sines);
                    value.copy_from_slice(&qkv[k_end..]);
                    // A vector holds one column of the keys of a page's positions.
                    let page = slots[at] / PAGE * PAGE * kv_row;
                    for (column, value) in qkv[q_end..k_end].iter().enumerate() {
                        // SAFETY: as above: other pieces write to other positions of the page.
                        unsafe { key_places.set(page + column * PAGE + slots[at] % PAGE, *value) };
                    }
                });
            })?;
        }

        // 2. Mix the values: by the pass of this crate, but for blocks of prompts where libtorch has better instructions.
        let out = floats(&[self.positions.len(), q_end])?;
        let out_places = Places::of(&out)?;
        let group = heads / kv_heads;
        let mut seen_by = Vec::new();
        let mut pieces = Vec::new();
        for sequence in &self.sequences {
            let (past, count) = (sequence.past as usize, sequence.count as usize);
            if count > 1 && mixes_by_libtorch() {
                let queries = qkv.f_narrow(0, sequence.first, sequence.count)?;
                let queries = queries.f_narrow(1, 0, q_end as i64)?;
                let queries =
                    queries.f_reshape([sequence.count, config.heads, config.head_width])?;
                let mixed = self.mix(sequence, &queries, keys, values, layer.kind.window)?;
                let mut place = out.f_narrow(0, sequence.first, sequence.count)?;
                place.f_copy_(&mixed)?;
                continue;
            }
            let window = layer
                .kind
                .window
                .map_or(usize::MAX, |window| window as usize);
            let from = (past + 1).saturating_sub(window);
            // The heads that share a key head are computed together, in halves where threads would have nothing to do.
            let is_halved =
                count == 1 && group > 1 && self.sequences.len() * kv_heads < 2 * team().threads();
            let step = if is_halved { group.div_ceil(2) } else { group };
            for first in (0..count).step_by(BLOCK) {
                let rows = first..count.min(first + BLOCK);
                for head in 0..heads {
                    if head % group % step == 0 {
                        let end = (head + step).min((head / group + 1) * group);
                        pieces.push((seen_by.len(), rows.clone(), head..end));
                    }
                }
            }
            let base = from / PAGE * PAGE;
            seen_by.push((
                sequence.first as usize,
                past,
                base,
                window,
                sequence.pages(from),
            ));
        }
        let (all_keys, all_values) = (slices::values(keys)?, slices::values(values)?);
        let scale = config.attention_scale as f32;
        let cap = config.attention_cap.map(|cap| cap as f32);
        team().run(pieces.len(), &|piece| {
            let (sequence, rows, together) = &pieces[piece];
            let (first, past, base, window, pages) = &seen_by[*sequence];
            let (start, length) = (together.start * width, together.len() * width);
            let seen = passes::Seen {
                keys: all_keys,
                values: all_values,
                pages,
                head: together.start / group,
                heads: kv_heads,
                width,
            };
            SCRATCH.with_borrow_mut(|scratch| {
                let Scratch {
                    queries,
                    ranges,
                    scores,
                    mixed,
                } = scratch;
                queries.clear();
                ranges.clear();
                for row in rows.clone() {
                    // SAFETY: queries are only read now.
                    let own = unsafe { &*places.range((first + row) * row_length + start, length) };
                    queries.extend_from_slice(own);
                    let end = past + row + 1;
                    let range = end.saturating_sub(*window) - base..end - base;
                    ranges.extend(together.clone().map(|_| range.clone()));
                }
                mixed.clear();
                mixed.resize(queries.len(), 0.0);
                passes::attend(queries, ranges, &seen, scale, cap, scores, mixed);
                for (row, mixed) in rows.clone().zip(mixed.chunks_exact(length)) {
                    // SAFETY: each piece has places of its own.
                    let out = unsafe { out_places.range((first + row) * q_end + start, length) };
                    out.copy_from_slice(mixed);
                }
            });
        });
        Ok(out)
    }

    /// Every row's heads turned by its position, computed in f32 whatever the weights are in: [rows, heads, head_width].
    fn turned(&self, x: &Tensor, rotary: usize) -> Result<Tensor> {
        let tables = &self.tables[rotary];
        let mut turned = Vec::new();
        // Rows of long and of other sequences side by side are rare: all others are one run.
        let mut runs: Vec<(bool, usize, usize)> = Vec::new();
        for sequence in &self.sequences {
            let (first, count) = (sequence.first as usize, sequence.count as usize);
            match runs.last_mut() {
                Some(run) if run.0 == sequence.is_long => run.2 += count,
                _ => runs.push((sequence.is_long, first, count)),
            }
        }
        for (is_long, first, count) in runs {
            let table = &tables[usize::from(is_long)];
            let (cosines, sines) = table.at(&self.positions[first..first + count])?;
            let x = x.f_narrow(0, first as i64, count as i64)?;
            let (width, layout) = (table.rotary().width, table.rotary().layout);
            let head_width = self.config.head_width;
            let part = x.f_narrow(2, 0, width)?.f_to_kind(Kind::Float)?;
            let (a, b) = match layout {
                Layout::Halves => (
                    part.f_narrow(2, 0, width / 2)?,
                    part.f_narrow(2, width / 2, width / 2)?,
                ),
                Layout::Neighbours => {
                    let heads = part.size()[1];
                    let pairs = part.f_reshape([count as i64, heads, width / 2, 2])?;
                    (pairs.f_select(3, 0)?, pairs.f_select(3, 1)?)
                }
            };
            let first = a.f_mul(&cosines)?.f_sub(&b.f_mul(&sines)?)?;
            let second = b.f_mul(&cosines)?.f_add(&a.f_mul(&sines)?)?;
            let part = match layout {
                Layout::Halves => Tensor::f_cat(&[first, second], 2)?,
                Layout::Neighbours => Tensor::f_stack(&[first, second], 3)?.f_flatten(2, 3)?,
            };
            let part = part.f_to_kind(self.kind)?;
            turned.push(match head_width - width {
                0 => part,
                rest => Tensor::f_cat(&[part, x.f_narrow(2, width, rest)?], 2)?,
            });
        }
        Ok(match turned.as_slice() {
            [only] => only.shallow_clone(),
            several => Tensor::f_cat(several, 0)?,
        })
    }

    /// One sequence's rows: [rows, heads x head_width].
    fn mix(
        &self,
        sequence: &Sequence,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        window: Option<i64>,
    ) -> Result<Tensor> {
        let &Config {
            heads,
            kv_heads,
            head_width,
            attention_scale: scale,
            attention_cap: cap,
            ..
        } = self.config;
        let (past, count) = (sequence.past, sequence.count);
        // What no row sees any more is left out.
        let from = window.map_or(0, |window| (past + 1 - window).max(0));
        let visible = past + count - from;
        let seen = |pool: &Tensor| -> Result<Tensor> {
            Ok(match &sequence.slots {
                Slots::Run(first) => pool.f_narrow(0, first + from, visible)?,
                Slots::Each(slots) => pool.f_index_select(0, &slots.f_narrow(0, from, visible)?)?,
            })
        };
        let keys = match steps::is_plain(keys) {
            true => sequence.keys_by_position(keys, from, visible)?,
            false => seen(keys)?,
        };
        let values = seen(values)?;
        if count == 1 {
            // The query heads that share a key head are the rows of one small matrix: nothing is repeated.
            let queries = queries.f_reshape([kv_heads, heads / kv_heads, head_width])?;
            let scores = queries.f_bmm(&keys.f_permute([1, 2, 0])?)?;
            let scores = capped(&scores.f_mul_scalar(scale)?, cap)?;
            let shares = scores.f_softmax(-1, Kind::Float)?.f_to_kind(self.kind)?;
            let mixed = shares.f_bmm(&values.f_transpose(0, 1)?)?;
            return Ok(mixed.f_reshape([1, heads * head_width])?);
        }
        let mask = self.mask(past - from, count, window)?;
        let wide = |x: &Tensor| -> Result<Tensor> { Ok(x.f_transpose(0, 1)?.f_unsqueeze(0)?) };
        let (queries, keys, values) = (wide(queries)?, wide(&keys)?, wide(&values)?);
        let mixed = match cap {
            None => {
                let causal = mask.is_none();
                let grouped = heads != kv_heads;
                Tensor::f_scaled_dot_product_attention(
                    &queries, &keys, &values, mask, 0.0, causal, scale, grouped,
                )?
            }
            Some(_) => {
                let repeated =
                    |x: &Tensor| x.f_repeat_interleave_self_int(heads / kv_heads, 1, None);
                let scores = queries.f_matmul(&repeated(&keys)?.f_transpose(2, 3)?)?;
                let scores = capped(&scores.f_mul_scalar(scale)?, cap)?.f_to_kind(Kind::Float)?;
                let mask = match mask {
                    Some(mask) => mask,
                    None => self.causal(0, count)?,
                };
                let hidden = mask.f_logical_not()?;
                let scores = scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?;
                let shares = scores.f_softmax(-1, Kind::Float)?.f_to_kind(self.kind)?;
                shares.f_matmul(&repeated(&values)?)?
            }
        };
        let mixed = mixed.f_squeeze_dim(0)?.f_transpose(0, 1)?;
        Ok(mixed.f_reshape([count, heads * head_width])?)
    }

    /// Which positions each of `count` rows after `past` others sees; none is needed where that is all before it, from
    /// the very beginning on.
    fn mask(&self, past: i64, count: i64, window: Option<i64>) -> Result<Option<Tensor>> {
        let narrow = window.filter(|&window| window < past + count);
        if past == 0 && narrow.is_none() {
            return Ok(None);
        }
        let mask = self.causal(past, count)?;
        Ok(Some(match narrow {
            Some(window) => mask.f_triu(past - window + 1)?,
            None => mask,
        }))
    }

    fn causal(&self, past: i64, count: i64) -> Result<Tensor> {
        let all = Tensor::f_ones([count, past + count], (Kind::Bool, self.device))?;
        Ok(all.f_tril(past)?)
    }
}

/// True where libtorch has better instructions for blocks of prompts than the pass of this crate.
fn mixes_by_libtorch() -> bool {
    #[cfg(test)]
    if BY_LIBTORCH.get() {
        return true;
    }
    !passes::attends_fast()
}

#[cfg(test)]
thread_local! {
    /// Tests try libtorch's way on any processor.
    pub(super) static BY_LIBTORCH: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn capped(scores: &Tensor, cap: Option<f64>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => scores.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?,
        None => scores.shallow_clone(),
    })
}

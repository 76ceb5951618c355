//! Philox4x32-10, a random generator without state: 128 bits of counter and 64 bits of key give 128 random bits.
//!
//! J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Because
//! any draw can be computed alone, a validator checks the token that was sampled without repeating the run. How EMC
//! lays out key and counter is in `docs/spec/sampling.md`.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What a draw is for. Each use has its own stream, so that no two uses of one seed share a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// Choosing a token: position in the output, index = token id.
    Token = 1,
    /// The first latent of an image: position 0, index = element in row-major order.
    ImageLatent = 2,
    /// Noise that a scheduler adds: position = step from 0, index = element in row-major order.
    ImageStep = 3,
}

/// One application of the generator: ten rounds on `counter` under `key`.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let product = [0, 1].map(|i| u64::from(MULTIPLIERS[i]) * u64::from(counter[2 * i]));
        counter = [
            (product[1] >> 32) as u32 ^ counter[1] ^ key[0],
            product[1] as u32,
            (product[0] >> 32) as u32 ^ counter[3] ^ key[1],
            product[0] as u32,
        ];
        key = [0, 1].map(|i| key[i].wrapping_add(KEY_STEPS[i]));
    }
    counter
}

/// The four words that cover the indices `4 * block` to `4 * block + 3`.
pub fn block(seed: u64, domain: Domain, position: u32, block: u64) -> [u32; 4] {
    let halves = |wide: u64| [wide as u32, (wide >> 32) as u32];
    let [low, high] = halves(block);
    philox4x32([low, high, position, domain as u32], halves(seed))
}

/// The one word that belongs to an index.
pub fn word(seed: u64, domain: Domain, position: u32, index: u64) -> u32 {
    block(seed, domain, position, index / 4)[(index % 4) as usize]
}

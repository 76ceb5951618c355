//! What this machine could do at most: bytes read from memory a second, products a second. All of it on all threads.

use std::hint::black_box;
use std::time::Instant;

/// Memory that no cache holds.
const BYTES: usize = 512 << 20;
/// How often each is measured; the best counts, since whatever else runs only slows the machine down.
const TIMES: usize = 25;

/// Bytes a second that `threads` threads read, each its own part, end to end.
pub fn read_bandwidth(threads: usize) -> f64 {
    let words = vec![1u64; BYTES / 8];
    let seconds = fastest(|| {
        std::thread::scope(|scope| {
            for part in words.chunks(words.len().div_ceil(threads)) {
                scope.spawn(move || {
                    // Many sums, so that no addition waits for another.
                    let mut sums = [0u64; 64];
                    for line in part.as_chunks::<64>().0 {
                        sums.iter_mut()
                            .zip(line)
                            .for_each(|(sum, word)| *sum += word);
                    }
                    black_box(sums);
                });
            }
        });
    });
    BYTES as f64 / seconds
}

/// Multiplications with addition a second, in f32 and in 8-bit integers, where the processor has AVX-512 for them.
#[cfg(target_arch = "x86_64")]
pub fn products(threads: usize) -> Option<(f64, f64)> {
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    let on_all = |one: fn()| {
        let seconds = fastest(|| {
            std::thread::scope(|scope| {
                (0..threads).for_each(|_| drop(scope.spawn(one)));
            });
        });
        (ROUNDS * SUMS * threads) as f64 / seconds
    };
    has.then(|| {
        // SAFETY: the processor has the instructions.
        let in_f32 = on_all(|| unsafe { in_f32() });
        // SAFETY: as above.
        let in_integers = on_all(|| unsafe { in_integers() });
        (in_f32 * 16.0, in_integers * 64.0)
    })
}

/// Nothing is known of other processors.
#[cfg(not(target_arch = "x86_64"))]
pub fn products(_threads: usize) -> Option<(f64, f64)> {
    None
}

const ROUNDS: usize = 20_000_000;
/// Sums that do not wait for one another.
const SUMS: usize = 16;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn in_f32() {
    use std::arch::x86_64::*;
    let (a, b) = (
        _mm512_set1_ps(black_box(0.5)),
        _mm512_set1_ps(black_box(0.25)),
    );
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, *sum, b);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn in_integers() {
    use std::arch::x86_64::*;
    let (a, b) = (
        _mm512_set1_epi8(black_box(3)),
        _mm512_set1_epi8(black_box(5)),
    );
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

fn fastest(mut run: impl FnMut()) -> f64 {
    let times = (0..TIMES).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

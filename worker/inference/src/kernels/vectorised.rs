//! Functions that are compiled for several instruction sets from the same lines; the best that this processor has runs.

use std::sync::OnceLock;

/// Defines functions that run with the best instructions of this processor.
macro_rules! vectorised {
    ($($(#[$about:meta])* $see:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$about])*
        $see fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $kind),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $kind),*) $(-> $out)? { plain($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512($($arg: $kind),*) $(-> $out)? { plain($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            match $crate::kernels::vectorised::level() {
                // SAFETY: the processor has these instructions.
                2 => return unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                1 => return unsafe { avx2($($arg),*) },
                _ => {}
            }
            plain($($arg),*)
        }
    )*};
}

pub(crate) use vectorised;

/// 2 with 512-bit vectors, 1 with 256-bit ones, else 0.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> u8 {
    static LEVEL: OnceLock<u8> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        let half = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if wide { 2 } else { u8::from(half) }
    })
}

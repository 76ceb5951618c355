//! What each day of mining gives, in e8s: 50,000 EMC for the 60 days of the test phase, then 90-day stages of which the
//! first gives the same and each later one 0.9 of the one before, rounded down. Never more than 48,000,000 EMC in all.

/// Days of the test phase.
pub const TEST_DAYS: u64 = 60;
/// Days of each later stage.
pub const STAGE_DAYS: u64 = 90;
/// What a day of the test phase and of the first stage gives, e8s.
pub const FIRST: u128 = 50_000 * 100_000_000;

/// The stage of a day: `None` for the test phase.
fn stage(day: u64) -> Option<u64> {
    Some(day.checked_sub(TEST_DAYS)? / STAGE_DAYS)
}

/// What a day of a stage gives.
fn of_stage(stage: u64) -> u128 {
    let mut amount = FIRST;
    // It comes to nothing after some 300 steps, however far the stage is.
    for _ in 0..stage {
        if amount == 0 {
            break;
        }
        amount = amount * 9 / 10;
    }
    amount
}

/// What a day gives; days are counted from 0, the first of mining.
pub fn of(day: u64) -> u128 {
    stage(day).map_or(FIRST, of_stage)
}

/// The first day of the stage after that of `day`, and what its days give; `None` where there is nothing any more.
pub fn next(day: u64) -> Option<(u64, u128)> {
    if of(day) == 0 {
        return None;
    }
    let next = stage(day).map_or(0, |stage| stage + 1);
    let first = next.checked_mul(STAGE_DAYS)?.checked_add(TEST_DAYS)?;
    Some((first, of_stage(next)))
}

//! System API: cycles. Balances move with calls; running code costs nothing on this network.

use super::{Context, Host, Mode, Result, Trap, allow, execution, execution_mut, write};
use Mode::{Cleanup, Init, PreUpgrade, ReplicatedQuery, Reply, Task, Update};
use wasmtime::Linker;

const AVAILABLE: &[Mode] = &[Update, ReplicatedQuery, Reply, Mode::Reject];
const REFUNDED: &[Mode] = &[Reply, Mode::Reject];
const BURN: &[Mode] = &[
    Init,
    PreUpgrade,
    Update,
    ReplicatedQuery,
    Reply,
    Mode::Reject,
    Cleanup,
    Task,
];

fn wide(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn narrow(amount: u128) -> Result<u64> {
    u64::try_from(amount).map_err(|_| Trap::CyclesTooBigFor64Bit.into())
}

fn put(c: &mut Context<'_>, to: u32, amount: u128) -> Result<()> {
    write(c, u64::from(to), &amount.to_le_bytes())
}

fn accept(c: &mut Context<'_>, function: &str, max: u128) -> Result<u128> {
    allow(c, function, AVAILABLE)?;
    let e = execution_mut(c)?;
    let amount = e.available.min(max);
    e.available -= amount;
    e.accepted += amount;
    e.balance += amount;
    Ok(amount)
}

pub(super) fn link(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap(
        "ic0",
        "msg_cycles_available128",
        |mut c: Context<'_>, to: u32| -> Result<()> {
            allow(&c, "msg_cycles_available128", AVAILABLE)?;
            let amount = execution(&c)?.available;
            put(&mut c, to, amount)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_cycles_available",
        |c: Context<'_>| -> Result<u64> {
            allow(&c, "msg_cycles_available", AVAILABLE)?;
            narrow(execution(&c)?.available)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_cycles_refunded128",
        |mut c: Context<'_>, to: u32| -> Result<()> {
            allow(&c, "msg_cycles_refunded128", REFUNDED)?;
            let amount = execution(&c)?.refunded;
            put(&mut c, to, amount)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_cycles_refunded",
        |c: Context<'_>| -> Result<u64> {
            allow(&c, "msg_cycles_refunded", REFUNDED)?;
            narrow(execution(&c)?.refunded)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_cycles_accept128",
        |mut c: Context<'_>, high: u64, low: u64, to: u32| -> Result<()> {
            let amount = accept(&mut c, "msg_cycles_accept128", wide(high, low))?;
            put(&mut c, to, amount)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_cycles_accept",
        |mut c: Context<'_>, max: u64| -> Result<u64> {
            narrow(accept(&mut c, "msg_cycles_accept", u128::from(max))?)
        },
    )?;
    l.func_wrap(
        "ic0",
        "cycles_burn128",
        |mut c: Context<'_>, high: u64, low: u64, to: u32| -> Result<()> {
            allow(&c, "cycles_burn128", BURN)?;
            let e = execution_mut(&mut c)?;
            let amount = e.balance.min(wide(high, low));
            e.balance -= amount;
            put(&mut c, to, amount)
        },
    )?;
    for name in [
        "canister_cycle_balance128",
        "canister_liquid_cycle_balance128",
    ] {
        l.func_wrap("ic0", name, |mut c: Context<'_>, to: u32| -> Result<()> {
            let amount = execution(&c)?.balance;
            put(&mut c, to, amount)
        })?;
    }
    l.func_wrap(
        "ic0",
        "canister_cycle_balance",
        |c: Context<'_>| -> Result<u64> { narrow(execution(&c)?.balance) },
    )?;
    // Prices of a 13-node subnet, so that code which attaches cycles by them runs as it would there.
    l.func_wrap(
        "ic0",
        "cost_call",
        |mut c: Context<'_>, method: u64, payload: u64, to: u32| -> Result<()> {
            put(
                &mut c,
                to,
                260_000 + 1_000 * (u128::from(method) + u128::from(payload)),
            )
        },
    )?;
    l.func_wrap(
        "ic0",
        "cost_create_canister",
        |mut c: Context<'_>, to: u32| -> Result<()> { put(&mut c, to, 500_000_000_000) },
    )?;
    l.func_wrap(
        "ic0",
        "cost_http_request",
        |mut c: Context<'_>, request: u64, response: u64, to: u32| -> Result<()> {
            put(
                &mut c,
                to,
                49_140_000 + 5_200 * u128::from(request) + 10_400 * u128::from(response),
            )
        },
    )?;
    for name in [
        "cost_sign_with_ecdsa",
        "cost_sign_with_schnorr",
        "cost_vetkd_derive_key",
    ] {
        // 2: no such key, which is true here.
        l.func_wrap(
            "ic0",
            name,
            |_: Context<'_>, _: u32, _: u32, _: u32, _: u32| -> u32 { 2 },
        )?;
    }
    Ok(())
}

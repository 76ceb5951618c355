//! System API: calls to other canisters.

use super::{
    Closure, Context, Host, Mode, OutgoingCall, Result, Trap, allow, execution, execution_mut,
    read, read_text,
};
use crate::limits::{MAX_CALL_TIMEOUT_S, MAX_MESSAGE_BYTES, MAX_OUTSTANDING_CALLS};
use crate::reject::SYS_TRANSIENT;
use Mode::{CompositeQuery, CompositeReject, CompositeReply, Reply, Task, Update};
use candid::Principal;
use wasmtime::Linker;

const CALL: &[Mode] = &[
    Update,
    CompositeQuery,
    Reply,
    Mode::Reject,
    CompositeReply,
    CompositeReject,
    Task,
];
const CYCLES: &[Mode] = &[Update, Reply, Mode::Reject, Task];

fn building<'a>(c: &'a mut Context<'_>, function: &str) -> Result<&'a mut OutgoingCall> {
    allow(c, function, CALL)?;
    execution_mut(c)?.building.as_mut().ok_or_else(|| {
        Trap::contract(format!(
            "ic0.{function} called when no call is under construction."
        ))
        .into()
    })
}

fn add_cycles(c: &mut Context<'_>, function: &str, amount: u128) -> Result<()> {
    allow(c, function, CYCLES)?;
    building(c, function)?;
    let e = execution_mut(c)?;
    let Some(left) = e.balance.checked_sub(amount) else {
        return Err(Trap::OutOfCycles(e.canister).into());
    };
    e.balance = left;
    building(c, function)?.cycles += amount;
    Ok(())
}

pub(super) fn link(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap(
        "ic0",
        "call_new",
        |mut c: Context<'_>,
         callee: u32,
         callee_len: u32,
         name: u32,
         name_len: u32,
         reply_fun: u32,
         reply_env: u32,
         reject_fun: u32,
         reject_env: u32|
         -> Result<()> {
            allow(&c, "call_new", CALL)?;
            abandon(&mut c)?;
            if callee_len > 29 {
                return Err(Trap::contract(
                    "ic0.call_new: the callee's id is longer than 29 bytes",
                )
                .into());
            }
            let callee = read(&mut c, u64::from(callee), u64::from(callee_len))?;
            let callee = Principal::try_from_slice(&callee)
                .map_err(|e| Trap::contract(format!("ic0.call_new: invalid principal id: {e}")))?;
            if name_len as usize > 20_000 {
                return Err(Trap::contract(
                    "ic0.call_new: the method's name is longer than 20000 bytes",
                )
                .into());
            }
            let method = read_text(
                &mut c,
                u64::from(name),
                u64::from(name_len),
                "ic0.call_new: the method's name",
            )?;
            execution_mut(&mut c)?.building = Some(OutgoingCall {
                callee,
                method,
                argument: Vec::new(),
                cycles: 0,
                timeout_s: None,
                on_reply: Closure {
                    function: reply_fun,
                    environment: reply_env,
                },
                on_reject: Closure {
                    function: reject_fun,
                    environment: reject_env,
                },
                on_cleanup: None,
            });
            Ok(())
        },
    )?;
    l.func_wrap("ic0", "call_on_cleanup", |mut c: Context<'_>, function: u32, environment: u32| -> Result<()> {
        let call = building(&mut c, "call_on_cleanup")?;
        if call.on_cleanup.is_some() {
            return Err(Trap::contract("ic0.call_on_cleanup can be called at most once between call_new and call_perform").into());
        }
        call.on_cleanup = Some(Closure { function, environment });
        Ok(())
    })?;
    l.func_wrap("ic0", "call_data_append", |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
        let size = building(&mut c, "call_data_append")?.argument.len() + len as usize;
        if size > MAX_MESSAGE_BYTES {
            return Err(Trap::contract(format!(
                "ic0.call_data_append: size ({size}) exceeds the allowed limit of {MAX_MESSAGE_BYTES}"
            ))
            .into());
        }
        let data = read(&mut c, u64::from(from), u64::from(len))?;
        building(&mut c, "call_data_append")?.argument.extend(data);
        Ok(())
    })?;
    l.func_wrap(
        "ic0",
        "call_with_best_effort_response",
        |mut c: Context<'_>, timeout_s: u32| -> Result<()> {
            let call = building(&mut c, "call_with_best_effort_response")?;
            if call.timeout_s.is_some() {
                return Err(Trap::contract(
                    "ic0_call_with_best_effort_response failed because a timeout is already set.",
                )
                .into());
            }
            call.timeout_s = Some(timeout_s.min(MAX_CALL_TIMEOUT_S));
            Ok(())
        },
    )?;
    l.func_wrap(
        "ic0",
        "call_cycles_add128",
        |mut c: Context<'_>, high: u64, low: u64| -> Result<()> {
            add_cycles(
                &mut c,
                "call_cycles_add128",
                u128::from(high) << 64 | u128::from(low),
            )
        },
    )?;
    l.func_wrap(
        "ic0",
        "call_cycles_add",
        |mut c: Context<'_>, amount: u64| -> Result<()> {
            add_cycles(&mut c, "call_cycles_add", u128::from(amount))
        },
    )?;
    l.func_wrap("ic0", "call_perform", |mut c: Context<'_>| -> Result<u32> {
        let callee = building(&mut c, "call_perform")?.callee;
        let e = execution(&c)?;
        let open = e.outstanding.get(&callee).copied().unwrap_or(0)
            + e.calls.iter().filter(|call| call.callee == callee).count();
        let full = open >= MAX_OUTSTANDING_CALLS || {
            let e = execution_mut(&mut c)?;
            let method = e.building.as_ref().map_or("", |call| call.method.as_str());
            e.full_queues.is_full(e.canister, callee, method)
        };
        if full {
            abandon(&mut c)?;
            return Ok(SYS_TRANSIENT);
        }
        let e = execution_mut(&mut c)?;
        e.calls.extend(e.building.take());
        Ok(0)
    })?;
    Ok(())
}

/// Drops a call under construction; its cycles go back.
fn abandon(c: &mut Context<'_>) -> Result<()> {
    let e = execution_mut(c)?;
    if let Some(call) = e.building.take() {
        e.balance += call.cycles;
    }
    Ok(())
}

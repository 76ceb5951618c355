//! System API: the message's argument and caller, and the answer to it.

use super::{
    Context, Host, Mode, Result, Trap, allow, copy, execution, execution_mut, read, read_text,
};
use crate::limits::MAX_MESSAGE_BYTES;
use crate::reject::{CANISTER_REJECT, Reject, Response};
use Mode::{
    Cleanup, CompositeQuery, CompositeReject, CompositeReply, Init, Inspect, Query,
    ReplicatedQuery, Reply, Update,
};
use wasmtime::Linker;

const ARGUMENT: &[Mode] = &[
    Init,
    Update,
    ReplicatedQuery,
    Query,
    CompositeQuery,
    Reply,
    CompositeReply,
    Inspect,
];
const REJECTION: &[Mode] = &[Mode::Reject, CompositeReject];
const REJECT_CODE: &[Mode] = &[
    Reply,
    Mode::Reject,
    CompositeReply,
    CompositeReject,
    Cleanup,
];
const ANSWER: &[Mode] = &[
    Update,
    ReplicatedQuery,
    Query,
    CompositeQuery,
    Reply,
    Mode::Reject,
    CompositeReply,
    CompositeReject,
];
const DEADLINE: &[Mode] = ANSWER;
const INFO: &[Mode] = &[
    Update,
    ReplicatedQuery,
    Query,
    CompositeQuery,
    Reply,
    Mode::Reject,
    CompositeReply,
    CompositeReject,
    Cleanup,
    Inspect,
];

fn respond(
    c: &mut Context<'_>,
    function: &str,
    response: impl FnOnce(Vec<u8>) -> Response,
) -> Result<()> {
    allow(c, function, ANSWER)?;
    let e = execution_mut(c)?;
    if !e.can_respond || e.response.is_some() {
        return Err(Trap::contract(format!(
            "\"ic0_{function}\": the call has already been replied"
        ))
        .into());
    }
    let data = std::mem::take(&mut e.reply);
    e.response = Some(response(data));
    Ok(())
}

pub(super) fn link(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap(
        "ic0",
        "msg_arg_data_size",
        |c: Context<'_>| -> Result<u32> {
            allow(&c, "msg_arg_data_size", ARGUMENT)?;
            Ok(execution(&c)?.argument.len() as u32)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_arg_data_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            allow(&c, "msg_arg_data_copy", ARGUMENT)?;
            // Taken out and put back: arguments may be megabytes.
            let argument = std::mem::take(&mut execution_mut(&mut c)?.argument);
            let copied = copy(&mut c, "msg_arg_data_copy", &argument, to, offset, len);
            execution_mut(&mut c)?.argument = argument;
            copied
        },
    )?;
    l.func_wrap("ic0", "msg_caller_size", |c: Context<'_>| -> Result<u32> {
        Ok(execution(&c)?.caller.as_slice().len() as u32)
    })?;
    l.func_wrap(
        "ic0",
        "msg_caller_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            let caller = execution(&c)?.caller;
            copy(
                &mut c,
                "msg_caller_copy",
                caller.as_slice(),
                to,
                offset,
                len,
            )
        },
    )?;
    // No request with sender info is accepted, so it is always empty.
    for (size, copied) in [
        ("msg_caller_info_data_size", "msg_caller_info_data_copy"),
        ("msg_caller_info_signer_size", "msg_caller_info_signer_copy"),
    ] {
        l.func_wrap("ic0", size, move |c: Context<'_>| -> Result<u32> {
            allow(&c, size, INFO)?;
            Ok(0)
        })?;
        l.func_wrap(
            "ic0",
            copied,
            move |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
                allow(&c, copied, INFO)?;
                copy(&mut c, copied, &[], to, offset, len)
            },
        )?;
    }
    l.func_wrap("ic0", "msg_reject_code", |c: Context<'_>| -> Result<u32> {
        allow(&c, "msg_reject_code", REJECT_CODE)?;
        Ok(execution(&c)?.rejection.as_ref().map_or(0, |r| r.code))
    })?;
    l.func_wrap(
        "ic0",
        "msg_reject_msg_size",
        |c: Context<'_>| -> Result<u32> {
            allow(&c, "msg_reject_msg_size", REJECTION)?;
            Ok(execution(&c)?
                .rejection
                .as_ref()
                .map_or(0, |r| r.message.len() as u32))
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_reject_msg_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            allow(&c, "msg_reject_msg_copy", REJECTION)?;
            let message = execution(&c)?
                .rejection
                .as_ref()
                .map(|r| r.message.clone())
                .unwrap_or_default();
            copy(
                &mut c,
                "msg_reject_msg_copy",
                message.as_bytes(),
                to,
                offset,
                len,
            )
        },
    )?;
    l.func_wrap("ic0", "msg_deadline", |c: Context<'_>| -> Result<u64> {
        allow(&c, "msg_deadline", DEADLINE)?;
        Ok(execution(&c)?.deadline)
    })?;
    l.func_wrap("ic0", "msg_reply_data_append", |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
        allow(&c, "msg_reply_data_append", ANSWER)?;
        if execution(&c)?.reply.len() + len as usize > MAX_MESSAGE_BYTES {
            return Err(Trap::contract(format!(
                "\"ic0_msg_reply_data_append\": application payload size ({}) cannot be larger than \
                 {MAX_MESSAGE_BYTES}",
                execution(&c)?.reply.len() + len as usize
            ))
            .into());
        }
        let data = read(&mut c, u64::from(from), u64::from(len))?;
        execution_mut(&mut c)?.reply.extend(data);
        Ok(())
    })?;
    l.func_wrap("ic0", "msg_reply", |mut c: Context<'_>| -> Result<()> {
        respond(&mut c, "msg_reply", Ok)
    })?;
    l.func_wrap(
        "ic0",
        "msg_reject",
        |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
            allow(&c, "msg_reject", ANSWER)?;
            let message = read_text(
                &mut c,
                u64::from(from),
                u64::from(len),
                "ic0.msg_reject: the message",
            )?;
            let reject = Reject {
                error: Some(406),
                ..Reject::new(CANISTER_REJECT, message)
            };
            respond(&mut c, "msg_reject", |_| Err(reject))
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_method_name_size",
        |c: Context<'_>| -> Result<u32> {
            allow(&c, "msg_method_name_size", &[Inspect])?;
            Ok(execution(&c)?.method.len() as u32)
        },
    )?;
    l.func_wrap(
        "ic0",
        "msg_method_name_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            allow(&c, "msg_method_name_copy", &[Inspect])?;
            let method = execution(&c)?.method.clone();
            copy(
                &mut c,
                "msg_method_name_copy",
                method.as_bytes(),
                to,
                offset,
                len,
            )
        },
    )?;
    l.func_wrap(
        "ic0",
        "accept_message",
        |mut c: Context<'_>| -> Result<()> {
            allow(&c, "accept_message", &[Inspect])?;
            let e = execution_mut(&mut c)?;
            if e.accept_message {
                return Err(
                    Trap::contract("ic0.accept_message: the function was already called.").into(),
                );
            }
            e.accept_message = true;
            Ok(())
        },
    )?;
    Ok(())
}

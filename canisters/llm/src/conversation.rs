//! From the messages of a request to a job's input. Nothing is left out or made up: what no model here can do is
//! refused.

use crate::interface::{AssistantMessage, MessageV0, MessageV1, RoleV0, Tool};
use crate::refusal::Refusal;
use emc_protocol::job::{ChatMessage, ChatRole};
use emc_protocol::{JobInput, limits};

/// The input of `v0_chat`.
///
/// # Errors
/// It is empty or too long.
pub fn of_v0(messages: Vec<MessageV0>) -> Result<JobInput, Refusal> {
    let said = |message: MessageV0| {
        let role = match message.role {
            RoleV0::User => ChatRole::User,
            RoleV0::Assistant => ChatRole::Assistant,
            RoleV0::System => ChatRole::System,
        };
        said(role, message.content)
    };
    checked(messages.into_iter().map(said).collect())
}

/// The input of `v1_chat`.
///
/// # Errors
/// It is empty, too long, or about tools.
pub fn of_v1(messages: Vec<MessageV1>, tools: Option<Vec<Tool>>) -> Result<JobInput, Refusal> {
    if tools.is_some_and(|tools| !tools.is_empty()) {
        return Err(Refusal::Tools);
    }
    let numbered = (1..).zip(messages);
    let messages = numbered.map(|(number, message)| match message {
        MessageV1::User { content } => Ok(said(ChatRole::User, content)),
        MessageV1::System { content } => Ok(said(ChatRole::System, content)),
        MessageV1::Tool { .. } => Err(Refusal::ToolMessage(number)),
        MessageV1::Assistant(AssistantMessage {
            content,
            tool_calls,
        }) => match content {
            _ if !tool_calls.is_empty() => Err(Refusal::ToolMessage(number)),
            Some(content) => Ok(said(ChatRole::Assistant, content)),
            None => Err(Refusal::EmptyAssistant(number)),
        },
    });
    checked(messages.collect::<Result<_, _>>()?)
}

fn said(role: ChatRole, content: String) -> ChatMessage {
    ChatMessage { role, content }
}

/// Refuses here what the escrow would refuse, before it is sent there.
fn checked(messages: Vec<ChatMessage>) -> Result<JobInput, Refusal> {
    let within = |what, got, max| match got > max {
        true => Err(Refusal::TooLong { what, got, max }),
        false => Ok(()),
    };
    if messages.is_empty() {
        return Err(Refusal::NoMessages);
    }
    within("The number of messages", messages.len(), limits::MESSAGES)?;
    let bytes = messages.iter().map(|message| message.content.len()).sum();
    within(
        "The length of all messages in bytes",
        bytes,
        limits::INPUT_BYTES,
    )?;
    Ok(JobInput::Chat { messages })
}

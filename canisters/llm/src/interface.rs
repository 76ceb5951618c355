//! The types of DFINITY's LLM canister, as its callers send them (`tests/data/candid/llm.did`). Nothing here is ours to
//! change.

use candid::CandidType;
use serde::Deserialize;

/// `v0_chat`'s argument.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ChatRequestV0 {
    /// The model's name.
    pub model: String,
    /// The conversation, oldest first.
    pub messages: Vec<MessageV0>,
}

/// A message of `v0_chat`.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct MessageV0 {
    /// What is said.
    pub content: String,
    /// Who says it.
    pub role: RoleV0,
}

/// Who speaks.
#[derive(CandidType, Deserialize, Clone, Copy, Debug)]
pub enum RoleV0 {
    /// The person.
    #[serde(rename = "user")]
    User,
    /// The model.
    #[serde(rename = "assistant")]
    Assistant,
    /// Instructions to the model.
    #[serde(rename = "system")]
    System,
}

/// `v1_chat`'s argument.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ChatRequestV1 {
    /// The model's name.
    pub model: String,
    /// Functions that the model may ask the caller to call.
    pub tools: Option<Vec<Tool>>,
    /// The conversation, oldest first.
    pub messages: Vec<MessageV1>,
}

/// A message of `v1_chat`.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub enum MessageV1 {
    /// What a function that the model had asked for gave back.
    #[serde(rename = "tool")]
    Tool {
        /// What it gave.
        content: String,
        /// Which call this answers.
        tool_call_id: String,
    },
    /// The person.
    #[serde(rename = "user")]
    User {
        /// What is said.
        content: String,
    },
    /// The model.
    #[serde(rename = "assistant")]
    Assistant(AssistantMessage),
    /// Instructions to the model.
    #[serde(rename = "system")]
    System {
        /// What is said.
        content: String,
    },
}

/// What the model says.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct AssistantMessage {
    /// Its text.
    pub content: Option<String>,
    /// The calls that it asks for.
    pub tool_calls: Vec<ToolCall>,
}

/// A call that the model asks for.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// What to call.
    pub function: FunctionCall,
}

/// A function with its arguments.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct Argument {
    /// Its value, as text.
    pub value: String,
    /// Its name.
    pub name: String,
}

/// `v1_chat`'s answer.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct ChatResponseV1 {
    /// The model's message.
    pub message: AssistantMessage,
}

/// Something that the model may use.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub enum Tool {
    /// A function.
    #[serde(rename = "function")]
    Function(Function),
}

/// A function that the model may ask the caller to call.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Option<Parameters>,
    /// What it is for.
    pub description: Option<String>,
}

/// A function's parameters.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct Parameters {
    /// `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameters.
    pub properties: Option<Vec<Property>>,
    /// Those that must be there.
    pub required: Option<Vec<String>>,
}

/// A parameter.
#[derive(CandidType, Deserialize, Clone, Debug)]
pub struct Property {
    /// The values it may have, where they are fixed.
    #[serde(rename = "enum")]
    pub values: Option<Vec<String>>,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it means.
    pub description: Option<String>,
}

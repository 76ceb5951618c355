//! Messages become a job's input, or a refusal that says what to do.

use emc_llm::conversation::{of_v0, of_v1};
use emc_llm::interface::{
    AssistantMessage, Function, FunctionCall, MessageV0, MessageV1, RoleV0, Tool, ToolCall,
};
use emc_llm::refusal::Refusal;
use emc_protocol::job::ChatRole;
use emc_protocol::{JobInput, limits};

fn user(text: &str) -> MessageV1 {
    MessageV1::User {
        content: text.into(),
    }
}

fn assistant(content: Option<&str>, tool_calls: Vec<ToolCall>) -> MessageV1 {
    MessageV1::Assistant(AssistantMessage {
        content: content.map(str::to_owned),
        tool_calls,
    })
}

fn said(input: JobInput) -> Vec<(ChatRole, String)> {
    let JobInput::Chat { messages } = input else {
        panic!("a conversation becomes a chat, not {input:?}");
    };
    let pair = |message: emc_protocol::job::ChatMessage| (message.role, message.content);
    messages.into_iter().map(pair).collect()
}

#[test]
fn every_role_of_the_old_messages_is_kept_in_its_order() {
    let message = |role, content: &str| MessageV0 {
        role,
        content: content.into(),
    };
    let input = of_v0(vec![
        message(RoleV0::System, "Be short."),
        message(RoleV0::User, "Hi"),
        message(RoleV0::Assistant, "Hello"),
        message(RoleV0::User, ""),
    ]);
    let expected = [
        (ChatRole::System, "Be short."),
        (ChatRole::User, "Hi"),
        (ChatRole::Assistant, "Hello"),
        (ChatRole::User, ""),
    ];
    assert_eq!(
        said(input.unwrap()),
        expected.map(|(role, text)| (role, text.to_owned()))
    );
}

#[test]
fn every_role_of_the_new_messages_is_kept_in_its_order() {
    let system = MessageV1::System {
        content: "Be short.".into(),
    };
    let messages = vec![
        system,
        user("Hi"),
        assistant(Some("Hello"), vec![]),
        user("Bye"),
    ];
    // An empty list of tools offers none.
    let input = of_v1(messages, Some(vec![])).unwrap();
    let roles: Vec<_> = said(input).into_iter().map(|(role, _)| role).collect();
    use ChatRole::{Assistant, System, User};
    assert_eq!(roles, [System, User, Assistant, User]);
}

#[test]
fn what_is_about_tools_is_refused_and_nothing_is_made_up() {
    let tool = Tool::Function(Function {
        name: "balance".into(),
        parameters: None,
        description: None,
    });
    assert_eq!(
        of_v1(vec![user("Hi")], Some(vec![tool])).unwrap_err(),
        Refusal::Tools
    );
    let answer = MessageV1::Tool {
        content: "7".into(),
        tool_call_id: "1".into(),
    };
    assert_eq!(
        of_v1(vec![user("Hi"), answer], None).unwrap_err(),
        Refusal::ToolMessage(2)
    );
    let call = ToolCall {
        id: "1".into(),
        function: FunctionCall {
            name: "balance".into(),
            arguments: vec![],
        },
    };
    let called = assistant(Some("Let me see."), vec![call]);
    assert_eq!(
        of_v1(vec![called], None).unwrap_err(),
        Refusal::ToolMessage(1)
    );
    assert!(Refusal::Tools.to_string().contains("without `tools`"));
}

#[test]
fn an_assistant_that_says_nothing_is_refused() {
    let silent = assistant(None, vec![]);
    assert_eq!(
        of_v1(vec![user("Hi"), silent], None).unwrap_err(),
        Refusal::EmptyAssistant(2)
    );
}

#[test]
fn conversations_are_as_long_as_a_job_may_be_and_no_longer() {
    assert_eq!(of_v1(vec![], None).unwrap_err(), Refusal::NoMessages);
    assert_eq!(of_v0(vec![]).unwrap_err(), Refusal::NoMessages);
    let many = |count| (0..count).map(|_| user("a")).collect::<Vec<_>>();
    assert!(of_v1(many(limits::MESSAGES), None).is_ok());
    let refusal = of_v1(many(limits::MESSAGES + 1), None).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLong { max, .. } if max == limits::MESSAGES));
    let long = |bytes| vec![user(&"a".repeat(bytes))];
    assert!(of_v1(long(limits::INPUT_BYTES), None).is_ok());
    let refusal = of_v1(long(limits::INPUT_BYTES + 1), None).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLong { max, .. } if max == limits::INPUT_BYTES));
}

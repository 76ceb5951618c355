//! A conversation kept in a file, so that the next question can refer to the last answer.

use crate::keystore::config_folder;
use anyhow::{Context, Result};
use emc_client::protocol::job::{ChatMessage, ChatRole};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The model that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
}

impl Conversation {
    /// Where `--continue` keeps the last conversation.
    pub fn last() -> Result<PathBuf> {
        Ok(config_folder()?.join("conversation.json"))
    }

    /// Reads a conversation; an empty one where there is no file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => {
                return Err(e).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a conversation", path.display()))
    }

    /// Replaces the file, readable by its owner alone, in one step: a crash leaves the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
            {
                std::fs::create_dir_all(folder)?;
            }
            let mut name = path.as_os_str().to_owned();
            name.push(".new");
            let beside = PathBuf::from(name);
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The system message is the first one, where there is one: a new one replaces it.
    pub fn set_system(&mut self, text: &str) {
        self.messages
            .retain(|message| message.role != ChatRole::System);
        self.messages.insert(0, message(ChatRole::System, text));
    }

    /// Adds what somebody says.
    pub fn say(&mut self, role: ChatRole, text: &str) {
        self.messages.push(message(role, text));
    }
}

fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_kept_from_one_question_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/c.json");
        let mut conversation = Conversation::read(&path).unwrap();
        assert!(conversation.messages.is_empty());
        conversation.say(ChatRole::User, "Why?");
        conversation.say(ChatRole::Assistant, "Because.");
        conversation.set_system("Be brief.");
        conversation.set_system("Be kind.");
        conversation.write(&path).unwrap();
        let read = Conversation::read(&path).unwrap();
        assert_eq!(read, conversation);
        assert_eq!(read.messages.len(), 3);
        assert_eq!(read.messages[0].content, "Be kind.");
    }

    #[test]
    fn a_file_that_is_no_conversation_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "my notes").unwrap();
        let error = Conversation::read(&path).unwrap_err().to_string();
        assert!(error.contains("notes.txt"), "{error}");
    }
}

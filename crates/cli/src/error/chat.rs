/// What a person did at the prompt that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A slash and an unknown word.
    #[error("unknown command {0}\nhint: /help lists the commands")]
    UnknownCommand(String),

    /// A command without what it needs.
    #[error("{command} takes {what}\nhint: for example {example}")]
    Argument {
        /// The command.
        command: &'static str,
        /// What it takes.
        what: &'static str,
        /// One that works.
        example: &'static str,
    },

    /// A setting that there is not.
    #[error(
        "unknown setting {name}{}\nhint: /set shows the settings",
        if variables.is_empty() { String::new() } else { format!(", and the chat template reads only {}", variables.join(", ")) }
    )]
    UnknownSetting {
        /// What was typed.
        name: String,
        /// Variables of the chat template that may be set.
        variables: Vec<String>,
    },

    /// A value of another kind.
    #[error("{name} is {value:?}, but it must be {expected}")]
    Value {
        /// The setting.
        name: String,
        /// What was typed.
        value: String,
        /// What is possible.
        expected: &'static str,
    },

    /// The terminal fails.
    #[error("cannot read from the terminal: {0}")]
    Terminal(#[source] rustyline::error::ReadlineError),
}

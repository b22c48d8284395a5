use std::fmt;

/// A model on the hub: `org/name`, with a revision and perhaps a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// Who published it.
    pub org: String,
    /// What it is called.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// A GGUF file of the repository, or a part of its name.
    pub file: Option<String>,
}

impl HubId {
    /// Reads `org/name`, `org/name@revision`, `org/name:file.gguf` or `org/name@revision:file.gguf`; nothing for a text
    /// of another shape.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file.to_owned())),
            None => (text, None),
        };
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (org, name) = path.split_once('/')?;
        let word = |word: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !word.is_empty() && word.len() <= 96 && word.chars().all(known) && !word.starts_with(['.', '-'])
        };
        let whole = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let fine = word(org)
            && word(name)
            && whole(revision)
            && revision.split('/').all(word)
            && file.as_deref().is_none_or(|file| whole(file) && !file.contains('\\'));
        fine.then(|| Self { org: org.to_owned(), name: name.to_owned(), revision: revision.to_owned(), file })
    }

    /// `org/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ":{file}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_told_from_paths() {
        let id = |org: &str, name: &str, revision: &str, file: Option<&str>| {
            let file = file.map(str::to_owned);
            Some(HubId { org: org.into(), name: name.into(), revision: revision.into(), file })
        };
        assert_eq!(HubId::parse("Qwen/Qwen3-0.6B"), id("Qwen", "Qwen3-0.6B", "main", None));
        assert_eq!(HubId::parse("a/b@v1.0"), id("a", "b", "v1.0", None));
        assert_eq!(HubId::parse("a/b@refs/pr/3:c.gguf"), id("a", "b", "refs/pr/3", Some("c.gguf")));
        assert_eq!(HubId::parse("a/b:Q4_K_M"), id("a", "b", "main", Some("Q4_K_M")));
        for path in [
            "",
            "model",
            "./model",
            "../model",
            "/tmp/model",
            "a/b/c",
            "a/",
            "/b",
            "~/m",
            "a b/c",
            "a/b@",
            "a/b@../x",
            "a/b:",
            "a/b:../x",
            "a/b:/etc/passwd",
            "C:\\x",
            "a/b:x\\y",
            "a/..",
            "a/b@-x",
        ] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
        for text in ["a/b", "a/b@v1", "a/b:c.gguf", "a/b@v1:c.gguf"] {
            assert_eq!(HubId::parse(text).unwrap().to_string(), text);
        }
    }
}

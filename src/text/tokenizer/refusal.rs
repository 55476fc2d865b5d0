//! Why files that are a tokenizer cannot be read as one.

/// What a tokenizer's files ask for that cannot be done, or what they lack.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Bytes that contradict the format.
    #[error(transparent)]
    Form(Box<dyn std::error::Error + Send + Sync>),
    /// A sentencepiece model of another kind.
    #[error("a sentencepiece model of kind {}, expected unigram (1) or BPE (2)", kind(*.0))]
    Kind(i32),
    /// A sentencepiece model without pieces.
    #[error("a sentencepiece model without pieces")]
    NoPieces,
    /// A piece that may not be used.
    #[error("the piece `{piece}` is marked as unused, which changes how texts are cut")]
    Unused { piece: String },
    /// A class that these files cannot be read as.
    #[error("`tokenizer_class` is `{class}`: expected one of {}", known.join(", "))]
    Class { class: String, known: Vec<String> },
    /// Files that do not say how texts are cut and framed.
    #[error(
        "expected a `tokenizer_config.json` beside it, whose `tokenizer_class` says how texts are cut and which tokens stand around them"
    )]
    NoClass,
    /// A setting that is not supported.
    #[error("`{key}` is `{found}`: expected {expected}")]
    Setting { key: String, found: String, expected: &'static str },
    /// A special token that nothing names.
    #[error("nothing says what `{role}` is")]
    Role { role: &'static str },
    /// A special token that the vocabulary does not have.
    #[error("the vocabulary has no token `{token}`, which is the `{role}`")]
    Token { token: String, role: &'static str },
    /// A token whose id cannot be kept.
    #[error("the token `{token}` has the id {}, expected {}", number(*found), number(*expected))]
    Id { token: String, found: Option<u32>, expected: Option<u32> },
    /// A line that is no pair.
    #[error("line {line} of `merges.txt` is `{found}`: expected two tokens")]
    Merge {
        /// The line, from 1.
        line: usize,
        found: String,
    },
}

fn kind(kind: i32) -> String {
    match kind {
        3 => "word (3)".to_owned(),
        4 => "char (4)".to_owned(),
        other => other.to_string(),
    }
}

fn number(id: Option<u32>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl Refusal {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoClass => {
                Some("add the checkpoint's tokenizer_config.json to the package's files, or lay it beside the tokenizer".to_owned())
            }
            Self::Form(_) => None,
            _ => Some(
                "make a tokenizer.json with transformers, `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(OTHER)`, and use that"
                    .to_owned(),
            ),
        }
    }
}

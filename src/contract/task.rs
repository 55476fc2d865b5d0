//! What a family of models is for.

/// What the models of an architecture do with their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Pictures become pictures or latents.
    ImageToImage,
    /// An encoder reads a text and a decoder writes another one.
    Translation,
    /// A decoder scores the next token of a text.
    TextGeneration,
    /// An encoder reads a whole text; its logits score labels.
    TextEncoding,
}

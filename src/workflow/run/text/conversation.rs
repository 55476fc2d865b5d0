//! A conversation with a language model: every turn is written by the chat template together with all before it. What
//! the model has read of them is not read again.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{
    ChatOptions, Completion, TextOptions, TextResult, TextRunError, choice,
    language::{LanguageBundles, Memory},
    template,
};
use crate::{
    text::{Message, Role},
    workflow::{Context, Error, bundles::Contents},
};

/// Whoever talks with a model.
pub trait Partner {
    /// The next thing to say; `None` ends the conversation.
    fn next(&mut self) -> Option<String>;

    /// Hears a piece of the answer, and may interrupt it.
    fn hear(&mut self, piece: &str) -> ControlFlow<()>;

    /// The answer is complete.
    fn answered(&mut self, result: &TextResult);

    /// What was said cannot be answered, and counts as not said.
    fn refused(&mut self, error: &TextRunError);
}

/// A conversation that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct ConversationReport {
    /// The bundles that were run.
    pub bundles: Vec<String>,
    /// How many answers there were.
    pub turns: usize,
}

/// Talks until the partner has nothing more to say.
///
/// # Errors
/// When the package has no language model, tokenizer or chat template, or a bundle cannot be run.
pub fn converse(
    context: &Context,
    options: &TextOptions,
    chat: &ChatOptions,
    partner: &mut dyn Partner,
) -> Result<ConversationReport, Error> {
    let contents = Contents::of(context, &options.subject)?;
    let chosen = choice::choose(&contents, &options.choice())?;
    let choice::Encoder::Language(candidates) = &chosen.encoder else {
        return Err(TextRunError::NoLanguageModel { package: chosen.name }.into());
    };
    let files = choice::tokenizer_files(&contents, &options.choice())?;
    let tokenizer = choice::tokenizer(&files, &chosen.name)?;
    let template = template(&files, &chosen.name)?;
    let bundles = LanguageBundles::open(context, &chosen.name, candidates)?;
    let model = bundles.model(options.mode);
    let completion = Completion { context, options, tokenizer: &tokenizer, chat: None };
    let mut messages: Vec<Message> = Vec::new();
    messages.extend(chat.system.clone().map(|content| Message { role: Role::System, content }));
    let mut memory = Memory::default();
    let mut turns = 0;
    while let Some(text) = partner.next() {
        messages.push(Message { role: Role::User, content: text.clone() });
        let answer = template.render(&messages, chat.now).map_err(TextRunError::from).and_then(|prompt| {
            let prompt_ids = tokenizer.encode(&prompt, false)?;
            let completed = completion
                .complete(&model, &bundles, turns, &prompt_ids, &mut memory, &mut |piece| partner.hear(piece))?;
            let (output, ids, ended) =
                (Some(completed.output), completed.generated.ids, Some(completed.generated.ended));
            Ok(TextResult { text, prompt: Some(prompt), prompt_ids, output, ids, ended, ..TextResult::default() })
        });
        match answer {
            Ok(result) => {
                partner.answered(&result);
                messages.push(Message { role: Role::Assistant, content: result.output.unwrap_or_default() });
                turns += 1;
            }
            // What the template or the context does not take, another text may.
            Err(error @ (TextRunError::TooLong { .. } | TextRunError::Text(_))) => {
                partner.refused(&error);
                messages.pop();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ConversationReport { bundles: bundles.names(), turns })
}

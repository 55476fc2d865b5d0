//! `run --text`: generates text with a language model or a translator, or compares sentences with a sentence encoder.
//!
//! The inputs and outputs of a bundle say what it is for; the tokenizer is one of the package's plain files.

mod choice;
mod conversation;
mod error;
mod language;
mod opened;
mod sentences;
mod translator;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

pub use conversation::{ConversationReport, Partner, converse};
pub use error::TextRunError;
pub(in crate::workflow) use language::LanguageBundles;

use self::{
    choice::Chosen,
    language::{LanguageModel, Memory, Prompted},
    sentences::SentenceEncoder,
    translator::TranslatorBundles,
};
use crate::{
    eval::Mode,
    text::{ChatTemplate, Generated, Limits, LocalTime, Message, Role, Strategy, Tokenizer, TokenizerFiles, generate},
    workflow::{
        Amount, Context, Error,
        bundles::{BundleSubject, Contents},
    },
};

/// The package to run, its texts, and how to generate.
#[derive(Debug, Clone)]
pub struct TextOptions {
    /// The package, or the bundle of a sentence encoder.
    pub subject: BundleSubject,
    /// Globs over the variants that may run; empty: all.
    pub variants: Vec<String>,
    /// The texts.
    pub texts: Vec<String>,
    /// A file with one text per line, in place of `texts`.
    pub file: Option<PathBuf>,
    /// Path of a tokenizer outside of the package.
    pub tokenizer: Option<PathBuf>,
    /// The languages of source and target, where the tokenizer has tokens for them, e.g. `en`.
    pub languages: Option<(String, String)>,
    /// Formats each text with the model's chat template, instead of continuing it.
    pub chat: Option<ChatOptions>,
    /// Whether the caller prints text while it is generated, so that no progress bar is shown.
    pub streams: bool,
    /// How tokens are chosen.
    pub strategy: Strategy,
    /// Longest result, in tokens.
    pub most_tokens: usize,
    /// Precision of values between operations.
    pub mode: Mode,
}

/// Inputs of a chat template apart from the text.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// The system message.
    pub system: Option<String>,
    /// The current local time.
    pub now: LocalTime,
}

/// Results of all texts.
#[derive(Debug, Clone, Serialize)]
pub struct TextReport {
    /// The bundles that were run.
    pub bundles: Vec<String>,
    /// The precision and compression that ran, if the package has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picked: Option<Picked>,
    /// The texts, in their order.
    pub texts: Vec<TextResult>,
    /// Cosine similarities between the sentences, from a sentence encoder.
    pub similarities: Option<Vec<Vec<f64>>>,
    /// Duration in seconds.
    pub seconds: f64,
    /// Generated tokens per second, if tokens were generated.
    pub tokens_per_second: Option<f64>,
    /// Prompt tokens per second, for a language model.
    pub prompt_tokens_per_second: Option<f64>,
}

/// The precision and compression that ran, out of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Picked {
    /// The one that ran, e.g. `float32`.
    pub making: String,
    /// The others.
    pub others: Vec<String>,
}

/// A text and its result.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TextResult {
    /// The text.
    pub text: String,
    /// The text after the chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The tokens that the model read.
    pub prompt_ids: Vec<u32>,
    /// The text that was generated.
    pub output: Option<String>,
    /// The generated tokens; for a sentence encoder those of the text, as in `prompt_ids`.
    pub ids: Vec<u32>,
    /// Whether an end token ended the result, and not the limit.
    pub ended: Option<bool>,
    /// How many tokens of the source were cut, because they exceed the longest encoder.
    pub cut: usize,
    /// The vector of a sentence.
    pub embedding: Option<Vec<f32>>,
}

/// Runs a package on texts. `watch` receives pieces of results while they are generated, with the index of their text.
///
/// # Errors
/// When the package has no model of text or no tokenizer, or a bundle cannot run.
pub fn run_text(
    context: &Context,
    options: &TextOptions,
    watch: &mut dyn FnMut(usize, &str),
) -> Result<TextReport, Error> {
    let texts = texts(context.directory(), options)?;
    let contents = Contents::of(context, &options.subject)?;
    let chosen = choice::choose(&contents, &options.choice())?;
    let language = matches!(chosen.encoder, choice::Encoder::Language(_));
    if options.chat.is_some() && !language {
        return Err(TextRunError::NoLanguageModel { package: chosen.name }.into());
    }
    let files = choice::tokenizer_files(&contents, &options.choice())?;
    let tokenizer = choice::tokenizer(&files, &chosen.name)?;
    let start = Instant::now();
    let report = match &chosen.encoder {
        choice::Encoder::Sentences(_) => sentences(context, &chosen, &tokenizer, options, texts)?.timed(start),
        choice::Encoder::Tokens(_) => translate(context, &chosen, &tokenizer, options, texts, watch)?.timed(start),
        choice::Encoder::Language(candidates) => {
            let bundles = LanguageBundles::open(context, &chosen.name, candidates)?;
            let chat = options
                .chat
                .as_ref()
                .map(|chat| Ok((template(&files, &chosen.name)?, chat)))
                .transpose()
                .map_err(Error::TextRun)?;
            Completion { context, options, tokenizer: &tokenizer, chat }.run(&bundles, texts, watch)?
        }
    };
    let picked = chosen.picked(&report.bundles);
    Ok(TextReport { picked, ..report })
}

/// Runs a package's translator on texts once for every precision and compression of its decoders, the most
/// precise first. Each result has the name of its making.
///
/// # Errors
/// When the package has no translator or no tokenizer, or a bundle cannot run.
pub(in crate::workflow) fn translate_each(
    context: &Context,
    options: &TextOptions,
) -> Result<Vec<(String, TextReport)>, Error> {
    let texts = texts(context.directory(), options)?;
    let contents = Contents::of(context, &options.subject)?;
    let chosen = choice::choose(&contents, &options.choice())?;
    let makings = chosen.by_making();
    if makings.is_empty() || !matches!(chosen.encoder, choice::Encoder::Tokens(_)) {
        return Err(TextRunError::Missing { package: chosen.name, missing: "translator" }.into());
    }
    let tokenizer = choice::tokenizer(&choice::tokenizer_files(&contents, &options.choice())?, &chosen.name)?;
    let report = |(name, made): (String, Chosen)| {
        let start = Instant::now();
        let report = translate(context, &made, &tokenizer, options, texts.clone(), &mut |_, _| ())?;
        Ok((name, report.timed(start)))
    };
    makings.into_iter().map(report).collect()
}

/// Selects language models.
#[derive(Debug, Clone, Copy)]
pub(in crate::workflow) struct TextChoice<'a> {
    /// The package, or the bundle.
    pub subject: &'a BundleSubject,
    /// Globs over the variants that may run; empty: all.
    pub variants: &'a [String],
    /// Path of a tokenizer outside of the package.
    pub tokenizer: Option<&'a Path>,
}

/// The tokenizer of a package, and its language model in every precision and compression, the most precise first. Each
/// has the name of its making.
///
/// # Errors
/// When the package has no language model or no tokenizer, or a bundle cannot be opened.
pub(in crate::workflow) fn language_models(
    context: &Context,
    choice: &TextChoice<'_>,
) -> Result<(Tokenizer, Vec<(String, LanguageBundles)>), Error> {
    let contents = Contents::of(context, choice.subject)?;
    let chosen = choice::choose(&contents, choice)?;
    let open = |(name, made): (String, Chosen)| match &made.encoder {
        choice::Encoder::Language(candidates) => Ok((name, LanguageBundles::open(context, &made.name, candidates)?)),
        _ => Err(Error::from(TextRunError::Missing { package: made.name, missing: "language model" })),
    };
    let makings = chosen.by_making().into_iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    if makings.is_empty() {
        return Err(TextRunError::Missing { package: chosen.name, missing: "language model" }.into());
    }
    Ok((choice::tokenizer(&choice::tokenizer_files(&contents, choice)?, &chosen.name)?, makings))
}

impl TextOptions {
    fn choice(&self) -> TextChoice<'_> {
        TextChoice { subject: &self.subject, variants: &self.variants, tokenizer: self.tokenizer.as_deref() }
    }
}

impl TextReport {
    /// Adds duration and speed.
    fn timed(mut self, start: Instant) -> Self {
        self.seconds = start.elapsed().as_secs_f64();
        let tokens: usize = self.texts.iter().map(|text| text.ids.len()).sum();
        let generated = self.texts.iter().any(|text| text.output.is_some());
        self.tokens_per_second = generated.then(|| tokens as f64 / self.seconds.max(1e-9));
        self
    }
}

fn texts(directory: &Path, options: &TextOptions) -> Result<Vec<String>, TextRunError> {
    let Some(file) = &options.file else { return Ok(options.texts.clone()) };
    let content =
        fs::read_to_string(directory.join(file)).map_err(|source| TextRunError::Read { path: file.clone(), source })?;
    Ok(content.lines().map(str::to_owned).collect())
}

fn sentences(
    context: &Context,
    chosen: &Chosen,
    tokenizer: &Tokenizer,
    options: &TextOptions,
    texts: Vec<String>,
) -> Result<TextReport, Error> {
    let ids: Vec<Vec<u32>> =
        texts.iter().map(|text| tokenizer.encode(text, true)).collect::<Result<_, _>>().map_err(TextRunError::from)?;
    let opened = sentences::open(context, chosen, longest(&ids))?;
    let encoder = SentenceEncoder::new(&opened, options.mode);
    let task = context.progress().begin("reading sentences", Amount::Items(texts.len() as u64));
    let mut results = Vec::with_capacity(texts.len());
    for (text, ids) in texts.into_iter().zip(ids) {
        let (embedding, cut) = encoder.embed(&ids)?;
        results.push(TextResult {
            text,
            prompt_ids: ids.clone(),
            ids,
            cut,
            embedding: Some(embedding),
            ..TextResult::default()
        });
        task.advance(1);
    }
    task.finish("read the sentences");
    let vectors: Vec<&[f32]> = results.iter().filter_map(|result| result.embedding.as_deref()).collect();
    let row = |a: &&[f32]| vectors.iter().map(|b| sentences::cosine(a, b)).collect();
    let similarities = Some(vectors.iter().map(row).collect());
    Ok(TextReport {
        bundles: vec![opened.bundle.name],
        picked: None,
        texts: results,
        similarities,
        seconds: 0.0,
        tokens_per_second: None,
        prompt_tokens_per_second: None,
    })
}

fn longest(ids: &[Vec<u32>]) -> usize {
    ids.iter().map(Vec::len).max().unwrap_or(0)
}

fn translate(
    context: &Context,
    chosen: &Chosen,
    tokenizer: &Tokenizer,
    options: &TextOptions,
    texts: Vec<String>,
    watch: &mut dyn FnMut(usize, &str),
) -> Result<TextReport, Error> {
    let sources: Vec<translator::Source> = texts
        .iter()
        .map(|text| translator::Source::new(tokenizer, text, options.languages.as_ref()))
        .collect::<Result<_, _>>()?;
    let length = sources.iter().map(|source| source.ids.len()).max().unwrap_or(0);
    let bundles = TranslatorBundles::open(context, chosen, length)?;
    let translator = bundles.translator(options.mode);
    let task =
        (!options.streams).then(|| context.progress().begin("generating texts", Amount::Items(texts.len() as u64)));
    let mut results = Vec::with_capacity(texts.len());
    for (index, (text, source)) in texts.into_iter().zip(&sources).enumerate() {
        let (encoded, cut) = translator.encode(source)?;
        let limits = Limits { most: options.most_tokens.min(translator.most_tokens()), ..translator.limits()? };
        let mut stream = Stream { tokenizer, ids: Vec::new(), shown: 0 };
        let generated = generate(&encoded, &limits, options.strategy, &mut |id| {
            if let Some(piece) = stream.push(id) {
                watch(index, &piece);
            }
            ControlFlow::Continue(())
        })?;
        let output = tokenizer.decode(&generated.ids).map_err(TextRunError::from)?;
        if let Some(rest) = stream.rest(&output) {
            watch(index, rest);
        }
        let (ids, ended, prompt_ids) = (generated.ids, Some(generated.ended), source.ids.clone());
        results.push(TextResult { text, prompt_ids, output: Some(output), ids, ended, cut, ..TextResult::default() });
        task.iter().for_each(|task| task.advance(1));
    }
    task.into_iter().for_each(|task| task.finish("generated the texts"));
    Ok(TextReport {
        bundles: bundles.names(),
        picked: None,
        texts: results,
        similarities: None,
        seconds: 0.0,
        tokens_per_second: None,
        prompt_tokens_per_second: None,
    })
}

/// Continues texts with a language model.
struct Completion<'a> {
    context: &'a Context,
    options: &'a TextOptions,
    tokenizer: &'a Tokenizer,
    chat: Option<(ChatTemplate, &'a ChatOptions)>,
}

/// The chat template of a package.
fn template(files: &TokenizerFiles, package: &str) -> Result<ChatTemplate, TextRunError> {
    ChatTemplate::find(files)?.ok_or_else(|| TextRunError::NoChatTemplate { package: package.to_owned() })
}

/// The result of a prompt, and the cost of reading it.
struct Completed {
    generated: Generated,
    output: String,
    read: usize,
    reading: f64,
}

impl Completion<'_> {
    /// The text after the template, if there is one, and its tokens.
    fn prompt(&self, text: &str) -> Result<(Option<String>, Vec<u32>), TextRunError> {
        let Some((template, chat)) = &self.chat else { return Ok((None, self.tokenizer.encode(text, true)?)) };
        let system = chat.system.clone().map(|content| Message { role: Role::System, content });
        let user = Message { role: Role::User, content: text.to_owned() };
        let prompt = template.render(&system.into_iter().chain([user]).collect::<Vec<_>>(), chat.now)?;
        let ids = self.tokenizer.encode(&prompt, false)?;
        Ok((Some(prompt), ids))
    }

    fn run(
        &self,
        bundles: &LanguageBundles,
        texts: Vec<String>,
        watch: &mut dyn FnMut(usize, &str),
    ) -> Result<TextReport, TextRunError> {
        let model = bundles.model(self.options.mode);
        let start = Instant::now();
        let (mut reading, mut read) = (0.0, 0);
        let items = Amount::Items(texts.len() as u64);
        let task = (!self.options.streams).then(|| self.context.progress().begin("generating texts", items));
        let mut results = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            let (prompt, prompt_ids) = self.prompt(&text)?;
            let completed =
                self.complete(&model, bundles, index, &prompt_ids, &mut Memory::default(), &mut |piece| {
                    watch(index, piece);
                    ControlFlow::Continue(())
                })?;
            (reading, read) = (reading + completed.reading, read + completed.read);
            let (output, generated) = (Some(completed.output), completed.generated);
            let ended = Some(generated.ended);
            results.push(TextResult {
                text,
                prompt,
                prompt_ids,
                output,
                ids: generated.ids,
                ended,
                ..TextResult::default()
            });
            task.iter().for_each(|task| task.advance(1));
        }
        task.into_iter().for_each(|task| task.finish("generated the texts"));
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = results.iter().map(|result| result.ids.len()).sum();
        let speed = |count: usize, seconds: f64| (count > 0).then(|| count as f64 / seconds.max(1e-9));
        Ok(TextReport {
            bundles: bundles.names(),
            picked: None,
            texts: results,
            similarities: None,
            seconds,
            tokens_per_second: speed(tokens, seconds - reading),
            prompt_tokens_per_second: speed(read, reading).filter(|_| model.reads_ahead()),
        })
    }

    /// Goes on with a prompt. `memory` may have read its beginning, and has read all but its last token afterwards.
    fn complete(
        &self,
        model: &LanguageModel<'_>,
        bundles: &LanguageBundles,
        index: usize,
        prompt: &[u32],
        memory: &mut Memory,
        watch: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Completed, TextRunError> {
        let most = bundles.context().saturating_sub(1);
        let (&last, before) = match prompt.split_last() {
            Some(split) if prompt.len() <= most => split,
            Some(_) => {
                let package = self.options.subject.to_string();
                return Err(TextRunError::TooLong { package, index, tokens: prompt.len(), most });
            }
            None => return Err(TextRunError::Missing { package: format!("text {}", index + 1), missing: "tokens" }),
        };
        let asked = Instant::now();
        let rest = memory.rest_of(before);
        if model.reads_ahead() {
            model.read(memory, rest)?;
        } else {
            memory.recall(rest);
        }
        let (reading, read) = (asked.elapsed().as_secs_f64(), rest.len());
        let limits = Limits {
            start: last,
            ends: model.ends(),
            most: self.options.most_tokens.min(bundles.context() - before.len()),
        };
        let mut stream = Stream { tokenizer: self.tokenizer, ids: Vec::new(), shown: 0 };
        let prompted = Prompted { model, memory: memory.clone() };
        let generated = generate(&prompted, &limits, self.options.strategy, &mut |id| match stream.push(id) {
            Some(piece) => watch(&piece),
            None => ControlFlow::Continue(()),
        })?;
        let output = self.tokenizer.decode(&generated.ids)?;
        if let Some(rest) = stream.rest(&output) {
            let _ = watch(rest);
        }
        Ok(Completed { generated, output, read, reading })
    }
}

/// Decodes tokens as they are generated. Holds back text that later tokens can still change.
struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    shown: usize,
}

impl Stream<'_> {
    fn push(&mut self, id: u32) -> Option<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids).ok()?;
        let piece =
            text.get(self.shown..).filter(|piece| !piece.is_empty() && !piece.ends_with('\u{fffd}'))?.to_owned();
        self.shown = text.len();
        Some(piece)
    }

    /// The text that was held back, after the last token.
    fn rest<'t>(&self, output: &'t str) -> Option<&'t str> {
        output.get(self.shown..).filter(|rest| !rest.is_empty())
    }
}

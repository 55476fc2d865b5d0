//! Chat templates: how a model wants a conversation written, as a Jinja template beside its tokenizer (`chat_template.jinja`, or the key
//! `chat_template` of `tokenizer_config.json`).
//!
//! Templates see what transformers gives them: `messages`, `add_generation_prompt`, the tokens at the ends of texts, `raise_exception`; not the clock.
//! They are strangers' programs, so they have a limit of steps.

use minijinja::{Environment, ErrorKind, Value, context, syntax::SyntaxConfig};
use serde_json::Value as Json;

use super::TextError;

/// How many steps of a template are run.
const STEPS: u64 = 10_000_000;
const NAME: &str = "chat_template";

/// A template, and the special tokens that it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    tokens: [(&'static str, Option<String>); 2],
}

impl ChatTemplate {
    /// The template of a tokenizer: a file of its own before the key in the tokenizer's config; `None` where there is neither.
    pub fn find(own: Option<String>, config: Option<&Json>) -> Option<Self> {
        let get = |key: &str| config?.get(key);
        // Several templates have names; the usual one is called default.
        let listed = || {
            let list = get(NAME)?.as_array()?;
            let default = list.iter().find(|it| it.get("name").and_then(Json::as_str) == Some("default"))?;
            default.get("template")?.as_str()
        };
        let source = own.or_else(|| get(NAME).and_then(Json::as_str).or_else(listed).map(str::to_owned))?;
        let token = |key: &'static str| {
            let value = get(key)?;
            value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
        };
        Some(Self { source, tokens: ["bos_token", "eos_token"].map(|key| (key, token(key))) })
    }

    /// The conversation up to where the model's answer begins: perhaps what the system is told, then what the user says.
    ///
    /// # Errors
    /// When the template is damaged, or refuses the conversation.
    pub fn render(&self, system: Option<&str>, user: &str) -> Result<String, TextError> {
        let refused = |source: minijinja::Error| TextError::Template(Box::new(source));
        let mut environment = Environment::new();
        environment.set_fuel(Some(STEPS));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(refused)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let message = |role: &str, content: &str| context! { role, content };
        let messages: Vec<Value> = system.map(|text| message("system", text)).into_iter().chain([message("user", user)]).collect();
        let [bos, eos] = &self.tokens;
        let values = context! { messages, add_generation_prompt => true, bos_token => bos.1.clone(), eos_token => eos.1.clone() };
        environment.add_template(NAME, &self.source).map_err(refused)?;
        environment.get_template(NAME).and_then(|template| template.render(values)).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
                          {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn templates_are_found_where_tokenizers_have_them() {
        let config = serde_json::json!({ "chat_template": CHATML, "bos_token": { "content": "<s>" }, "eos_token": "</s>" });
        let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
        let rendered = |template: &ChatTemplate| template.render(Some("Be brief."), "Hi").unwrap();
        assert_eq!(rendered(&ChatTemplate::find(None, Some(&config)).unwrap()), expected);
        assert_eq!(rendered(&ChatTemplate::find(Some(CHATML.to_owned()), None).unwrap()), expected);
        let list = serde_json::json!({ "chat_template": [{ "name": "tools", "template": "" }, { "name": "default", "template": CHATML }] });
        assert_eq!(rendered(&ChatTemplate::find(None, Some(&list)).unwrap()), expected);
        assert!(ChatTemplate::find(None, Some(&serde_json::json!({}))).is_none() && ChatTemplate::find(None, None).is_none());
        let own = ChatTemplate::find(Some("{{ bos_token }}{{ messages[0].content.strip() }}{{ eos_token }}".to_owned()), Some(&config));
        assert_eq!(own.unwrap().render(None, "  Hi ").unwrap(), "<s>Hi</s>");
    }

    #[test]
    fn what_a_template_refuses_is_said_and_endless_ones_end() {
        let message = |source: &str| {
            let error = ChatTemplate::find(Some(source.to_owned()), None).unwrap().render(None, "Hi").unwrap_err();
            std::error::Error::source(&error).unwrap().to_string()
        };
        assert!(message("{{ raise_exception('no user first') }}").contains("no user first"));
        assert!(message("{% if %}").contains("syntax error"));
        assert!(message("{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}").contains("fuel"));
    }
}

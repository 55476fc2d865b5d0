use serde::Deserialize;

use super::*;

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
     '<|im_end|>' + '\n'}}{% endfor %}\
                      {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// 2026-03-05 07:04:09.
fn now() -> LocalTime {
    LocalTime::utc(1_772_694_249).unwrap()
}

fn say(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

/// The template of a folder with these files.
fn found(files: &[(&str, &str)]) -> Result<Option<ChatTemplate>, TextError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    ChatTemplate::find(&TokenizerFiles::beside(folder.path()).unwrap())
}

fn rendered(files: &[(&str, &str)]) -> String {
    found(files).unwrap().unwrap().render(&[say(Role::User, "Hi")], now()).unwrap()
}

/// What `fixtures/chat/make.py` writes.
#[derive(Deserialize)]
struct Golden {
    tokens: serde_json::Map<String, Json>,
    cases: Vec<GoldenCase>,
}

#[derive(Deserialize)]
struct GoldenCase {
    template: String,
    messages: Vec<(String, String)>,
    text: Option<String>,
    error: Option<String>,
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat/templates.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let template =
            ChatTemplate { source: case.template.clone(), tokens: golden.tokens.clone().into_iter().collect() };
        let message = |(role, content): &(String, String)| {
            let role = [Role::System, Role::User, Role::Assistant].into_iter().find(|it| it.name() == role).unwrap();
            say(role, content)
        };
        let messages: Vec<Message> = case.messages.iter().map(message).collect();
        match (template.render(&messages, now()), &case.text, &case.error) {
            (Ok(found), Some(expected), _) if found == *expected => {}
            (Err(_), None, Some(_)) => {}
            (found, expected, error) => {
                wrong.push(format!("{}\n  expected {expected:?} {error:?}\n  found    {found:?}", case.template))
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

#[test]
fn templates_are_found_where_tokenizers_have_them() {
    let config = |value: Json| {
        serde_json::json!({ "chat_template": value, "bos_token": { "content": "<s>" }, "eos_token": "</s>" })
            .to_string()
    };
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    let list = |name: &str| {
        config(serde_json::json!([{ "name": "tool_use", "template": "no" }, { "name": name, "template": CHATML }]))
    };
    for files in [
        &[("tokenizer_config.json", config(CHATML.into()).as_str())][..],
        &[("chat_template.jinja", CHATML)],
        &[("chat_template.jinja", CHATML), ("tokenizer_config.json", &config("no".into()))],
        &[("tokenizer_config.json", &list("default"))],
        &[("chat_template.json", &config(CHATML.into()))],
        &[("chat_template.jinja", CHATML), ("additional_chat_templates/rag.jinja", "no")],
    ] {
        assert_eq!(rendered(files), expected, "{files:?}");
    }
    assert!(found(&[("tokenizer_config.json", "{}")]).unwrap().is_none() && found(&[]).unwrap().is_none());
    let own = "{{ bos_token }}{{ messages[0].content.strip() }}{{ eos_token }}";
    assert_eq!(rendered(&[("chat_template.jinja", own), ("tokenizer_config.json", &config(Json::Null))]), "<s>Hi</s>");
    let error = found(&[("tokenizer_config.json", &list("rag"))]).unwrap_err();
    assert_eq!(error.to_string(), "there are several chat templates and none is called `default`: tool_use, rag");
    assert!(found(&[("tokenizer_config.json", "{")]).is_err());
    assert!(found(&[("tokenizer_config.json", &config(3.into()))]).is_err());
}

#[test]
fn what_a_template_refuses_is_said_and_endless_ones_end() {
    let message = |source: &str| {
        let template = found(&[("chat_template.jinja", source)]).unwrap().unwrap();
        let error = template.render(&[say(Role::User, "Hi")], now()).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert!(message("{{ raise_exception('no user first') }}").contains("no user first"));
    assert!(message("{% if %}").contains("syntax error"));
    assert!(
        message("{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}").contains("fuel")
    );
    assert!(
        message("{% set x = 'a' * 1000000 %}{% for i in range(99) %}{{ x }}{% endfor %}")
            .contains("it writes more than")
    );
    assert!(message("{{ '%999999999d' % 1 }}").contains("too big"));
    assert!(message("{{ 'a'.center(999999999) }}").contains("too big"));
}

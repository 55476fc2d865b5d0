//! The right sentence: for what is missing, private, gated, shut or not allowed.

use mlreg::{remote::HubToken, workflow::ErrorKind};

use crate::{
    REPOSITORY, Scene, TOKEN, User, decoder, http_server::Fault, hub_server::READ_TOKEN, hub_url, message, put_release,
    tensors,
};

fn failure(user: &User) -> String {
    message(&user.fetch("tae").unwrap_err())
}

#[test]
fn what_cannot_be_read_says_why() {
    let scene = Scene::new();
    let (stranger, reader) = (scene.user("stranger", None), scene.user("reader", Some(READ_TOKEN)));
    assert_eq!(failure(&stranger), "`hf://acme/tae` does not exist, or it is private and there is no token");
    assert_eq!(failure(&reader), "`hf://acme/tae` does not exist, or it is private and the token has no access to it");
    scene.publisher().release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    assert_eq!(failure(&reader), "`hf://acme/tae` does not exist, or it is private and the token has no access to it");
    {
        let mut state = scene.server.state();
        let repository = state.repositories.get_mut(REPOSITORY).unwrap();
        (repository.private, repository.gated) = (false, true);
    }
    assert_eq!(failure(&stranger), "`hf://acme/tae` is gated, and there is no token");
    assert_eq!(failure(&reader), "`hf://acme/tae` is gated: the token's owner has no access to it");
    let wrong = scene.user("wrong", Some("hf_wrong"));
    assert!(
        failure(&wrong).starts_with("the Hub does not accept the token: Invalid credentials"),
        "{}",
        failure(&wrong)
    );
    let publisher = scene.publisher();
    let revision = publisher.fetch_with("tae", |options| options.from = Some(hub_url("acme/tae@v9"))).unwrap_err();
    assert_eq!(revision.to_string(), "`hf://acme/tae` has no revision `v9`");
    assert_eq!(revision.kind(), ErrorKind::Remote);
    let version = publisher.fetch("tae@9").unwrap_err();
    assert_eq!(version.to_string(), "no version of `tae` in `hf://acme/tae` matches `^9`: there is 1.0.0");
    let package = publisher.fetch("other").unwrap_err();
    assert_eq!(package.to_string(), "`hf://acme/tae` has no package `other`");
    scene.server.state().repositories.get_mut(REPOSITORY).unwrap().disabled = true;
    assert_eq!(failure(&stranger), "access to `hf://acme/tae` is disabled");
}

#[test]
fn what_cannot_be_written_says_why() {
    let scene = Scene::new();
    let attempt = |name: &str, token: Option<&str>| {
        let user = scene.user(name, token);
        put_release(user.context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
        user.publish("1.0.0").unwrap_err()
    };
    let none = attempt("nobody", None);
    assert!(none.to_string().contains("token"), "{none}");
    assert!(none.hints()[0].contains("HF_TOKEN"), "{:?}", none.hints());
    let reader = attempt("reader", Some(READ_TOKEN));
    assert!(
        reader.to_string().ends_with("answered 403: Forbidden: you need the write role (request test-request)"),
        "{reader}"
    );
    assert!(scene.server.state().repositories.is_empty());
}

#[test]
fn no_message_has_a_token_or_a_signature() {
    let scene = Scene::new();
    scene.publisher().release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    scene.server.cdn.fault("blob/", .., Fault::status(403));
    let error = failure(&scene.user("reader", Some(TOKEN)));
    assert!(error.contains("403") && !error.contains("Signature") && !error.contains(TOKEN), "{error}");
    let mut elsewhere = scene.user("elsewhere", None);
    elsewhere.options.hub.endpoint = format!("http://me:{TOKEN}@127.0.0.1:1/");
    elsewhere.options.hub.token = HubToken::new(TOKEN);
    elsewhere.options.retries = 0;
    let error = failure(&elsewhere);
    assert!(!error.contains(TOKEN), "{error}");
}

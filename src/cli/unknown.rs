//! Hints for commands of other tools that mlreg does not have, such as `init` or `pull`.

use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::visible;

/// Commands of other tools, and what to use instead. clap suggests corrections of misspelt commands.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["init", "new"],
        "`mlreg add PACKAGE --from URL` makes an app's `mlreg.toml`; a package manifest is written by hand, see `mlreg \
         build --help`",
    ),
    (&["pull", "download", "install", "get", "sync"], "`mlreg fetch` downloads and places packages"),
    (&["push", "upload"], "`mlreg publish` uploads a release"),
    (&["convert", "export", "compile", "package"], "`mlreg build MANIFEST` converts a checkpoint"),
    (&["ls", "search"], "`mlreg list` lists packages, `mlreg list --from URL` those of a remote"),
    (
        &["info", "cat", "describe"],
        "`mlreg show PACKAGE` describes a release, `mlreg inspect PATH` a bundle or checkpoint",
    ),
    (
        &["delete", "uninstall"],
        "`mlreg rm PACKAGE` deletes a release from the store, `mlreg remove PACKAGE` takes a package out of an app",
    ),
    (&["clean", "prune", "cache"], "`mlreg gc` deletes unused data from the store"),
    (&["yank", "unpublish"], "published versions never change and stay: publish a higher version"),
    (
        &["diff", "compare"],
        "`mlreg eval A --against B` compares the numbers of two bundles, `mlreg inspect` shows what is in one",
    ),
    (&["check", "test", "validate"], "`mlreg verify` checks every byte, `mlreg eval` the numbers of a bundle"),
    (&["lock", "upgrade"], "`mlreg update` moves `mlreg.lock`, `mlreg fetch` places what it says"),
    (
        &["chat", "generate", "predict"],
        "`mlreg run PACKAGE --text TEXT` runs a package on text, `--chat` by its chat template",
    ),
    (&["login", "auth"], "`hf auth login` leaves a token that mlreg takes; or set `HF_TOKEN`"),
    (&["rename", "mv"], "`mlreg add PACKAGE --rename NAME=GLOB` places a bundle under another name"),
];

/// The text for a command of another tool; `None` where the error is of another kind.
pub fn explained(error: &Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, instead) = ELSEWHERE.iter().find(|(words, _)| words.contains(&word.as_str()))?;
    Some(format!("error: there is no command `{}`\n\nhint: {instead}\n", visible::line(word)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_word_is_a_command_and_every_hint_names_commands_that_exist() {
        let command = super::super::Arguments::command();
        let exists = |name: &str| command.get_subcommands().any(|command| command.get_name() == name);
        for (words, instead) in ELSEWHERE {
            assert!(words.iter().all(|word| !exists(word)), "{words:?}");
            let named = instead.split("`mlreg ").skip(1).map(|rest| rest.split([' ', '`']).next().unwrap_or_default());
            named.for_each(|name| assert!(exists(name), "{name}"));
        }
    }
}

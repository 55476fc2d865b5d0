//! Source code that loads and runs the bundles of a package in an app: from a release to files of text. Pure; nothing is written here.
//!
//! Every file extends one enum that is named after the package, so that many packages can be in one module. What the code says about names, shapes
//! and functions are the interfaces of the release; how it runs them stands in the templates. Nobody has compiled or run it here: it is parsed.

mod bundles;
mod language;
mod names;

use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use self::{
    bundles::Bundle,
    names::{Scope, literal},
};
use crate::manifest::release::Release;

/// A file's template, what its name adds to the package's, and its text.
const TEMPLATES: [(&str, &str); 4] = [
    ("", include_str!("templates/package.swift.jinja")),
    ("+Models", include_str!("templates/models.swift.jinja")),
    ("+Bundles", include_str!("templates/bundles.swift.jinja")),
    ("+Generator", include_str!("templates/generator.swift.jinja")),
];

/// A file of source code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, e.g. `Flux1Tae+Models.swift`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Why there is no source code.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// No bundle that Core ML can load, or none that says what it takes.
    #[error("`{package}` has no Core ML bundle whose inputs and outputs are known")]
    NoModels {
        /// Package and version.
        package: String,
    },
    /// A mistake in a template.
    #[error("cannot write `{file}`")]
    Template {
        /// The file.
        file: String,
        /// What is wrong with the template.
        #[source]
        source: Box<minijinja::Error>,
    },
}

/// A release as templates see it.
#[derive(Debug, Serialize)]
struct View {
    package: String,
    version: String,
    about: String,
    /// Of the enum.
    name: String,
    bundles: Vec<Bundle>,
    forms: Vec<language::Form>,
    /// Those that are no part of a form.
    wrapped: Vec<Bundle>,
    ends: Vec<u32>,
    functions: bool,
    states: bool,
}

impl View {
    fn of(release: &Release, ends: &[u32]) -> Self {
        let bundles = bundles::bundles(release);
        let forms = language::forms(&bundles);
        let used = language::used(&forms);
        let wrapped = bundles.iter().filter(|bundle| !used.contains(bundle.value.as_str())).cloned().collect();
        let mut functions = bundles.iter().flat_map(|bundle| &bundle.functions);
        let about = release.description.as_deref().unwrap_or_default();
        Self {
            package: literal(release.package.as_str()),
            version: literal(&release.version.to_string()),
            about: about.split_whitespace().collect::<Vec<_>>().join(" "),
            name: Scope::of_types().type_name(release.package.as_str()),
            wrapped,
            ends: ends.to_vec(),
            functions: functions.clone().any(|function| function.name.is_some()),
            states: functions.any(|function| !function.states.is_empty()),
            forms,
            bundles,
        }
    }
}

/// The bundles whose notes name the tokens that end a text: those of causal language models, by id.
pub fn language_bundles(release: &Release) -> Vec<&str> {
    let bundles = bundles::bundles(release);
    let forms = language::forms(&bundles);
    let used = language::used(&forms);
    let places: Vec<&String> =
        bundles.iter().filter(|bundle| used.contains(bundle.value.as_str())).flat_map(|bundle| &bundle.places).collect();
    release.variants.iter().map(|variant| variant.id.as_str()).filter(|id| places.contains(&&literal(id))).collect()
}

/// Swift for a release. `ends` are the tokens that end a text of its language model, if it has one.
///
/// # Errors
/// `NoModels` where there is nothing to write about.
pub fn swift(release: &Release, ends: &[u32]) -> Result<Vec<SourceFile>, CodegenError> {
    let release_name = format!("{}@{}", release.package, release.version);
    let view = View::of(release, ends);
    if view.bundles.is_empty() {
        return Err(CodegenError::NoModels { package: release_name });
    }
    let is_needed = |part: &str| match part {
        "+Bundles" => !view.wrapped.is_empty(),
        "+Generator" => !view.forms.is_empty(),
        _ => true,
    };
    let files = TEMPLATES.iter().filter(|(part, _)| is_needed(part));
    let file = |(part, template): &(&str, &str)| {
        let name = format!("{}{part}.swift", view.name);
        let text = rendered(template, &view, &release_name);
        let text = text.map_err(|source| CodegenError::Template { file: name.clone(), source: Box::new(source) })?;
        Ok(SourceFile { name, text })
    };
    files.map(file).collect()
}

fn rendered(template: &str, view: &View, release: &str) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.add_filter("literal", |text: String| literal(&text));
    let header = format!("// Generated by mlreg for {release}. Do not edit: `mlreg codegen swift` writes it anew.");
    environment.render_str(template, context! { header, ..Value::from(Serde(view)) })
}

//! Components that are converted: a front end makes programs of the source, a bundle format writes them.
//!
//! The model is read once for all variants that have it, and its weights are planned once per format. Every program is
//! built, verified, written, read back and verified again before a weight is converted. Then each weight file is
//! streamed once, and all variants refer to it.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::{
    compiled::Compilation,
    error::BuildError,
    front::{self, ComponentSource, FrontEnd, Model, ModelProgram},
    passes::passes_of,
    shared::SharedTensors,
    shelf::Shelf,
    variant::BuiltVariant,
    weights::{StoredWeights, WeightConverter},
};
use crate::{
    base::{RelativePath, Target},
    contract::Interface,
    emit::{
        self, BundleContents, BundleFile, BundleFormat, BundleSource, FileSource, ModelTexts, WeightPlan, WriteError,
        WrittenBundle,
    },
    manifest::{self, Axes, Compression, Content, PackageHeader, Precision, VariantPlan},
    mil::{self, Constant},
    ops,
    passes::Passes,
    recipe::Evaluator,
    workflow::{
        Context, Error,
        inspect::{DraftWarning, draft_warnings},
    },
};

/// A component and its opened source; nothing of it was converted.
pub(super) struct Conversion<'a> {
    component: &'a str,
    settings: &'a manifest::Conversion,
    front: Box<dyn FrontEnd + 'a>,
}

/// Variants of one model whose constants are stored in one way.
struct Group<'p> {
    precision: Precision,
    compression: Compression,
    variants: Vec<(&'p VariantPlan, &'p Axes)>,
}

/// A format that variants of a group have, and the places of the model's constants in it.
struct FormatPlan {
    format: &'static dyn BundleFormat,
    weights: WeightPlan,
}

/// A variant whose program is written; its weight files may not exist yet.
struct Draft<'p> {
    plan: &'p VariantPlan,
    /// Index of the variant's [`FormatPlan`].
    format: usize,
    interface: Interface,
    contents: DraftContents,
    warnings: Vec<DraftWarning>,
}

/// The files of a draft.
enum DraftContents {
    Files(Vec<BundleFile>),
    Compiled(Compilation),
}

impl<'a> Conversion<'a> {
    /// Opens the source of a component.
    pub(super) fn open(source: ComponentSource<'_, 'a>) -> Result<Self, Error> {
        let component = source.component.name.as_str();
        if let Some(what) = unsupported(source.settings) {
            return Err(BuildError::Unsupported { component: component.to_owned(), what }.into());
        }
        Ok(Self { component, settings: source.settings, front: front::open(source)? })
    }

    /// The opened source.
    pub(super) fn front(&self) -> &dyn FrontEnd {
        self.front.as_ref()
    }

    /// The component's name.
    pub(super) fn component(&self) -> &'a str {
        self.component
    }

    /// Whether tensors that other components have, too, go into a weight file of their own.
    pub(super) fn is_shared(&self) -> bool {
        self.settings.shared
    }

    /// The constants of every model that the variants have, with its precision.
    pub(super) fn constants(&self, plans: &[&VariantPlan]) -> Result<Vec<(Precision, Vec<Constant>)>, Error> {
        let groups = self.groups(plans).into_iter();
        groups.map(|group| Ok((group.precision, self.front.load(group.variants[0].1)?.constants()))).collect()
    }

    /// Builds the variants of the component.
    pub(super) fn convert(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        header: &PackageHeader,
        plans: &[&VariantPlan],
        shared: &SharedTensors,
    ) -> Result<Vec<BuiltVariant>, Error> {
        let mut built = Vec::new();
        for Group { precision, variants, .. } in self.groups(plans) {
            let passes = passes_of(variants[0].1);
            let model = self.front.load(variants[0].1)?;
            let evaluator = Evaluator::new(model.weights());
            let formats =
                self.format_plans(model.as_ref(), &passes, &evaluator, &variants, shared.of(self, precision)?)?;
            let drafts: Result<Vec<_>, BuildError> = variants
                .into_par_iter()
                .map(|(plan, axes)| self.draft(model.as_ref(), &passes, &formats, header, plan, axes))
                .collect();
            let drafts = drafts?;
            let (component, front) = (self.component, self.front());
            let converter = WeightConverter { context, shelf, component, precision, front, evaluator: &evaluator };
            let files = converter.files(&formats.iter().map(|plan| &plan.weights).collect::<Vec<_>>())?;
            let stored: Result<Vec<_>, Error> =
                drafts.into_par_iter().map(|draft| draft.store(shelf, &files)).collect();
            built.extend(stored?);
        }
        Ok(built)
    }

    /// Variants of one model and precision, in the order of the plans.
    fn groups<'p>(&self, plans: &[&'p VariantPlan]) -> Vec<Group<'p>> {
        let mut groups: Vec<Group<'p>> = Vec::new();
        for plan in plans {
            let Content::Converted(axes) = &plan.content else { continue };
            let belongs = |group: &&mut Group<'p>| {
                let is_stored_alike = group.precision == axes.precision && group.compression == axes.compression;
                is_stored_alike && self.front.is_same_model(group.variants[0].1, axes)
            };
            match groups.iter_mut().find(belongs) {
                Some(group) => group.variants.push((plan, axes)),
                None => groups.push(Group {
                    precision: axes.precision,
                    compression: axes.compression,
                    variants: vec![(plan, axes)],
                }),
            }
        }
        groups
    }

    /// Plans the weights once for each format of the variants.
    fn format_plans(
        &self,
        model: &dyn Model,
        passes: &Passes,
        evaluator: &Evaluator<'_>,
        variants: &[(&VariantPlan, &Axes)],
        shared: &[Constant],
    ) -> Result<Vec<FormatPlan>, BuildError> {
        let constants = stored_constants(model, passes, variants);
        let mut plans: Vec<FormatPlan> = Vec::new();
        for (_, axes) in variants {
            if plans.iter().all(|plan| plan.format.format() != axes.format) {
                let format = emit::find(axes.format).ok_or_else(|| self.unsupported_format(axes))?;
                plans.push(FormatPlan { format, weights: self.plan_weights(format, &constants, evaluator, shared)? });
            }
        }
        Ok(plans)
    }

    fn plan_weights(
        &self,
        format: &dyn BundleFormat,
        constants: &[Constant],
        evaluator: &Evaluator<'_>,
        shared: &[Constant],
    ) -> Result<WeightPlan, BuildError> {
        let component = || self.component.to_owned();
        let plan = format.plan_weights(constants, shared);
        let mut plan = plan.map_err(|source| BuildError::Weights { component: component(), source })?;
        for constant in plan.inline().to_vec() {
            let values =
                evaluator.bytes(&constant).map_err(|source| BuildError::Convert { component: component(), source })?;
            plan.set_values(&constant, values);
        }
        Ok(plan)
    }

    /// Writes the program of a variant in its format. What is checked is what was read back.
    fn draft<'p>(
        &self,
        model: &dyn Model,
        passes: &Passes,
        formats: &[FormatPlan],
        header: &PackageHeader,
        plan: &'p VariantPlan,
        axes: &Axes,
    ) -> Result<Draft<'p>, BuildError> {
        let unsupported = || self.unsupported_format(axes);
        let index = formats.iter().position(|plan| plan.format.format() == axes.format).ok_or_else(unsupported)?;
        let FormatPlan { format, weights } = &formats[index];
        let operators = format.operators(axes.target, ops::find).ok_or_else(unsupported)?;
        let ModelProgram { program, texts } = model.program(plan, axes, operators)?;
        mil::verify(&program, ops::find)
            .map_err(|source| BuildError::Unsound { id: plan.id.clone(), source: Box::new(source) })?;
        let program =
            passes.run(program, ops::find).map_err(|source| BuildError::Pass { id: plan.id.clone(), source })?;
        let source =
            BundleSource { program: &program, texts: &with_header(texts, header), weights, registry: ops::find };
        let written = format.write(&source).map_err(|error| not_written(plan, *format, error))?;
        let WrittenBundle { program, interface, contents } = written;
        let lengths = weight_lengths(contents.files(), weights);
        let warnings = draft_warnings(&program, &interface, &lengths, axes.precision == Precision::Float16);
        Ok(Draft { plan, format: index, interface, contents: DraftContents::of(plan, contents)?, warnings })
    }

    fn unsupported_format(&self, axes: &Axes) -> BuildError {
        BuildError::Unsupported { component: self.component.to_owned(), what: format!("format = \"{}\"", axes.format) }
    }
}

impl Draft<'_> {
    /// Stores the bundle; `weights` has the stored weight files of each format.
    fn store(self, shelf: &Shelf<'_>, weights: &[StoredWeights]) -> Result<BuiltVariant, Error> {
        let weights = &weights[self.format];
        let mut built = match self.contents {
            DraftContents::Files(files) => BuiltVariant::of_files(shelf, self.plan, files, weights)?,
            DraftContents::Compiled(compilation) => compilation.store(shelf, self.plan, weights)?,
        };
        built.variant.interface = Some(self.interface);
        built.warnings = self.warnings;
        Ok(built)
    }
}

impl DraftContents {
    /// The files of a bundle; refused where only Apple's compiler can make them and this machine has none.
    fn of(plan: &VariantPlan, contents: BundleContents) -> Result<Self, BuildError> {
        Ok(match contents {
            BundleContents::Files(files) => Self::Files(files),
            BundleContents::Compiled { compiler, files } => Self::Compiled(Compilation::Done { compiler, files }),
            BundleContents::NeedsAppleCompiler { package, refusal } => {
                Self::Compiled(Compilation::by_apple(plan, package, refusal)?)
            }
        })
    }
}

fn not_written(plan: &VariantPlan, format: &dyn BundleFormat, error: WriteError) -> BuildError {
    let id = plan.id.clone();
    match error {
        WriteError::Format(source) => BuildError::Emit { id, bundle: format.noun(), source },
        WriteError::Unsound(source) => BuildError::Unsound { id, source },
    }
}

/// The constants that the programs of all variants have, as the passes store them.
fn stored_constants(model: &dyn Model, passes: &Passes, variants: &[(&VariantPlan, &Axes)]) -> Vec<Constant> {
    let constants = model.constants();
    if passes.is_empty() {
        return constants;
    }
    let targets: BTreeSet<Target> = variants.iter().filter_map(|(_, axes)| axes.target).collect();
    targets.into_iter().flat_map(|target| passes.stored(&constants, target)).collect()
}

/// Adds what the package manifest says to a model's texts.
fn with_header(texts: ModelTexts, header: &PackageHeader) -> ModelTexts {
    ModelTexts {
        author: header.author.clone().unwrap_or_default(),
        license: header.license.clone().unwrap_or_default(),
        version: header.version.to_string(),
        description: header.description.clone().unwrap_or(texts.description),
        ..texts
    }
}

/// Lengths of a bundle's weight files, by path.
fn weight_lengths(files: &[BundleFile], weights: &WeightPlan) -> Vec<(RelativePath, u64)> {
    let length = |(path, source): &BundleFile| match source {
        FileSource::WeightFile(name) => Some((path.clone(), weights.file(name)?.length())),
        FileSource::Bytes(_) => None,
    };
    files.iter().filter_map(length).collect()
}

/// The first setting of the manifest that this version does not build.
fn unsupported(settings: &manifest::Conversion) -> Option<String> {
    let compression =
        settings.axes.compression.iter().find(|it| **it != Compression::None).map(|it| format!("compress = \"{it}\""));
    let format =
        settings.axes.format.iter().find(|it| emit::find(**it).is_none()).map(|it| format!("format = \"{it}\""));
    let batch = (settings.batch != 1).then(|| format!("batch = {}", settings.batch));
    [compression, format, batch].into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        base::Digest,
        checkpoint::{MemoryWeights, Weights},
        manifest::{
            ComponentKind, PackageManifest,
            release::{Other, Source},
        },
        mil::{Builder, DataType, OperatorSet, Program, Recipe, TensorType},
        store::StoreError,
        workflow::build::BuildWarning,
    };

    const MANIFEST: &str = "[package]\nname = \"hand\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \
         \"affine\"\ncheckpoint = \"x\"\nsequence = 4\n\
                            format = [\"mlpackage\", \"mlmodelc\"]\ntarget = [\"iOS17\", \"iOS18\"]\n";

    /// Makes `x * scale + shift` by hand: no checkpoint, no configuration, no family.
    struct HandMade(MemoryWeights);

    impl HandMade {
        fn new() -> Self {
            let mut weights = MemoryWeights::default();
            weights.insert_f32("scale", &[16], &[2.0; 16]);
            weights.insert_f32("shift", &[16], &[0.5; 16]);
            Self(weights)
        }
    }

    impl FrontEnd for HandMade {
        fn source(&self) -> Result<Source, StoreError> {
            Ok(Source {
                architecture: None,
                files: self.digests()?,
                repository: None,
                revision: None,
                more: Vec::new(),
                stand_in: None,
                ignored_config: std::collections::BTreeSet::new(),
                other: Other::default(),
            })
        }

        fn warnings(&self) -> Vec<BuildWarning> {
            Vec::new()
        }

        fn digests(&self) -> Result<BTreeMap<String, Digest>, StoreError> {
            Ok(BTreeMap::from([("hand.graph".to_owned(), Digest::of(b"hand"))]))
        }

        fn is_hashed(&self) -> bool {
            true
        }

        fn feed(&self, feed: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
            self.digests()?.values().for_each(|digest| feed(digest.as_bytes()));
            Ok(())
        }

        fn is_same_model(&self, _: &Axes, _: &Axes) -> bool {
            true
        }

        fn load(&self, _: &Axes) -> Result<Box<dyn Model + '_>, Error> {
            Ok(Box::new(HandMadeModel(&self.0)))
        }
    }

    struct HandMadeModel<'a>(&'a MemoryWeights);

    impl Model for HandMadeModel<'_> {
        fn constants(&self) -> Vec<Constant> {
            ["scale", "shift"]
                .map(|name| Recipe::source(name, DataType::Float32, &[16]).cast(DataType::Float16))
                .to_vec()
        }

        fn weights(&self) -> &dyn Weights {
            self.0
        }

        fn program(&self, _: &VariantPlan, _: &Axes, operators: OperatorSet) -> Result<ModelProgram, BuildError> {
            let [scale, shift] = <[Constant; 2]>::try_from(self.constants()).unwrap();
            let mut builder = Builder::new(operators.registry(), operators.contracts());
            let x = builder.input("x", TensorType::new(DataType::Float16, &[4, 16]));
            let scaled = builder.op1("mul", "scaled", &[("x", x.into()), ("y", (&scale).into())]).unwrap();
            let y = builder.op1("add", "y", &[("x", scaled.into()), ("y", (&shift).into())]).unwrap();
            let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[("y", y)]).unwrap())]);
            let target = operators.contracts();
            let program =
                Program { target, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
            Ok(ModelProgram {
                program,
                texts: ModelTexts { description: "made by hand".to_owned(), ..ModelTexts::default() },
            })
        }
    }

    #[test]
    fn a_program_made_by_hand_becomes_bundles() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(&folder.path().join("home"), folder.path().to_owned()).unwrap();
        let manifest = PackageManifest::parse(MANIFEST, "hand.toml").unwrap();
        let component = &manifest.components[0];
        let ComponentKind::Checkpoint(settings) = &component.kind else { panic!("not converted") };
        let conversion = Conversion { component: "affine", settings, front: Box::new(HandMade::new()) };
        let plans = component.variants().unwrap();
        let shelf = Shelf::new(context.store());
        let plans: Vec<&VariantPlan> = plans.iter().collect();
        let built = conversion.convert(&context, &shelf, &manifest.package, &plans, &SharedTensors::default()).unwrap();
        assert_eq!(built.len(), 4, "two targets in two formats");
        let weights: Vec<Digest> = built
            .iter()
            .flat_map(|built| &built.variant.files)
            .filter(|file| file.path.file_name() == "weight.bin")
            .map(|file| file.sha256)
            .collect();
        assert!(
            weights.len() == 4 && weights.iter().all(|digest| *digest == weights[0]),
            "one weight file for all: {weights:?}"
        );
        for built in &built {
            let interface = built.variant.interface.as_ref().unwrap();
            assert_eq!(interface.inputs[0].to_string(), "x float16[4,16]");
            assert_eq!(interface.outputs[0].to_string(), "y float16[4,16]");
            let labels: Vec<String> = built.blobs[&weights[0]]
                .segments
                .iter()
                .filter_map(|it| Some(it.tensor.as_ref()?.name.clone()))
                .collect();
            assert_eq!(labels, ["scale", "shift"]);
        }
    }
}

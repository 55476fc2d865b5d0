//! Runs a pipeline: parts one behind the other, which hand their results on by name.
//!
//! A value that a part takes is the latest of that name: an input of the pipeline, or a result of an earlier part.
//! Images are pixels between parts, as they are on a device: rounded to whole numbers from 0 to 255, in the order that
//! the taker declares. States belong to their part.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    EvalError, Interpreter, Operators, defaults,
    interpreter::{CallOptions, Stage},
    pixels::{self, Pixels},
};
use crate::{
    contract::{Feature, Interface},
    emit::coreml::{ColorSpace, Model, ModelBody, PIPELINE_FUNCTION, Package, Part},
    mil::{DataType, TensorType},
};

/// What is run.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// A program.
    Program(Stage<'a>),
    /// Parts, and what the pipeline takes and gives.
    Pipeline(&'a Interface, Vec<(&'a Part, Self)>),
}

impl<'a> Body<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        match &model.body {
            ModelBody::Program(program) => Self::Program(Stage::new(program, Some(&model.interface))),
            ModelBody::Pipeline(parts) => {
                Self::Pipeline(&model.interface, parts.iter().map(|part| (part, Self::of(&part.model))).collect())
            }
        }
    }
}

/// A value that parts hand on, and its colors where it is an image.
#[derive(Debug, Clone)]
struct Passed {
    tensor: Tensor,
    /// None for arrays.
    color: Option<ColorSpace>,
    /// Whether a part made it: what is given from outside is taken as it is.
    is_made: bool,
}

fn color(feature: &Feature) -> Option<ColorSpace> {
    feature.color.as_deref().and_then(ColorSpace::from_name)
}

impl Package {
    /// An interpreter of the package's program or pipeline.
    pub fn interpreter(&self, operators: Operators) -> Interpreter<'_> {
        Interpreter::of_model(self.model(), operators, self.weights())
    }
}

impl<'a> Interpreter<'a> {
    /// Runs a program's function, or a pipeline as a whole.
    pub(super) fn call<'s>(
        &'s self,
        body: &'s Body<'a>,
        options: CallOptions<'s>,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        match body {
            Body::Program(stage) => self.run_program(stage, options),
            Body::Pipeline(interface, parts) => self.run_pipeline(interface, parts, options),
        }
    }

    fn run_pipeline(
        &self,
        interface: &Interface,
        parts: &[(&'a Part, Body<'a>)],
        CallOptions { function, inputs, states, mode, mut watch }: CallOptions<'_>,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        if let Some(name) = function.filter(|name| *name != PIPELINE_FUNCTION) {
            return Err(EvalError::Function(name.to_owned()));
        }
        let mut values = given(interface, inputs, self.most_elements())?;
        for (index, (part, body)) in parts.iter().enumerate() {
            let located = |source| EvalError::Part { part: part.label.clone(), source: Box::new(source) };
            let mut inputs = BTreeMap::new();
            for feature in &part.model.interface.inputs {
                if let Some(value) = values.get(&feature.name) {
                    inputs.insert(feature.name.clone(), handed(value, feature).map_err(located)?);
                }
            }
            let options = CallOptions {
                function: None,
                inputs,
                states: states.part(index),
                mode,
                watch: match &mut watch {
                    Some(watch) => Some(&mut **watch),
                    None => None,
                },
            };
            let results = self.call(body, options).map_err(located)?;
            for (name, tensor) in results {
                let feature = part.model.interface.outputs.iter().find(|feature| feature.name == name);
                values.insert(name, Passed { tensor, color: feature.and_then(color), is_made: true });
            }
        }
        let take = |feature: &Feature| {
            let missing = || EvalError::Result { function: PIPELINE_FUNCTION.to_owned(), name: feature.name.clone() };
            let value = values.get(&feature.name).ok_or_else(missing)?;
            Ok((feature.name.clone(), ordered(value, feature, false)?))
        };
        interface.outputs.iter().map(take).collect()
    }
}

/// The inputs of a pipeline, defaults among them.
fn given(
    interface: &Interface,
    mut inputs: BTreeMap<String, Tensor>,
    most: u64,
) -> Result<BTreeMap<String, Passed>, EvalError> {
    let mut values = BTreeMap::new();
    for feature in &interface.inputs {
        let tensor = match inputs.remove(&feature.name) {
            Some(tensor) => tensor,
            // A part may have a default of its own.
            None if feature.optional && feature.default.is_none() => continue,
            None => left_out(feature, most)?,
        };
        values.insert(feature.name.clone(), Passed { tensor, color: color(feature), is_made: false });
    }
    match inputs.pop_first() {
        Some((name, _)) => Err(EvalError::UnknownInput { function: PIPELINE_FUNCTION.to_owned(), name }),
        None => Ok(values),
    }
}

fn left_out(feature: &Feature, most: u64) -> Result<Tensor, EvalError> {
    let (function, name, expected) = (PIPELINE_FUNCTION.to_owned(), feature.name.clone(), feature.to_string());
    let Some(default) = feature.default.clone().filter(|_| feature.optional) else {
        return Err(EvalError::MissingInput { function, name, expected });
    };
    let dtype = DataType::ALL.into_iter().find(|dtype| dtype.long_name() == feature.dtype).unwrap_or(DataType::Float32);
    let ty = TensorType::new(dtype, &feature.shape);
    defaults::tensor(feature, &ty, most).ok_or(EvalError::Default { function, name, default, expected })
}

/// A value as a part takes it.
fn handed(value: &Passed, feature: &Feature) -> Result<Tensor, EvalError> {
    let wanted = color(feature);
    if value.color.is_some() != wanted.is_some() {
        let kind = |color: Option<ColorSpace>| {
            color.map_or_else(|| "an array".to_owned(), |color| format!("an image ({})", color.name()))
        };
        return Err(EvalError::Kind { name: feature.name.clone(), expected: kind(wanted), found: kind(value.color) });
    }
    ordered(value, feature, value.is_made)
}

/// The planes of an image in the order of `feature`; whole numbers where they become pixels.
fn ordered(value: &Passed, feature: &Feature, as_pixels: bool) -> Result<Tensor, EvalError> {
    let (Some(from), Some(to)) = (value.color, color(feature)) else { return Ok(value.tensor.clone()) };
    let wrong = |source: candle_core::Error| EvalError::Image { name: feature.name.clone(), source };
    let swapped = [(ColorSpace::Rgb, ColorSpace::Bgr), (ColorSpace::Bgr, ColorSpace::Rgb)].contains(&(from, to));
    if from != to && !swapped {
        let kind = |color: ColorSpace| format!("an image ({})", color.name());
        return Err(EvalError::Kind { name: feature.name.clone(), expected: kind(to), found: kind(from) });
    }
    let tensor =
        if as_pixels { pixels::rounded(&value.tensor, Pixels::of(from)).map_err(wrong)? } else { value.tensor.clone() };
    if swapped { pixels::reversed(&tensor).map_err(wrong) } else { Ok(tensor) }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        base::Target,
        emit::coreml::{ModelMetadata, PartLabel},
        eval::{Mode, States},
        mil::{Builder, Program},
        ops,
        recipe::Literals,
    };

    fn feature(name: &str, color: Option<ColorSpace>) -> Feature {
        Feature {
            name: name.to_owned(),
            dtype: if color.is_some() { "image" } else { "float32" }.to_owned(),
            color: color.map(|color| color.name().to_owned()),
            ..Feature::default()
        }
    }

    fn model(inputs: Vec<Feature>, outputs: Vec<Feature>, body: ModelBody) -> Model {
        Model {
            interface: Interface { inputs, outputs, ..Interface::default() },
            metadata: ModelMetadata::default(),
            body,
        }
    }

    fn program(target: Target, build: impl FnOnce(&mut Builder) -> (&'static str, crate::mil::Var)) -> ModelBody {
        let mut builder = Builder::new(ops::find, target);
        let output = build(&mut builder);
        let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[output]).unwrap())]);
        ModelBody::Program(Box::new(Program {
            target,
            functions,
            default_function: None,
            attributes: BTreeMap::new(),
            doc: String::new(),
        }))
    }

    fn pipeline(inputs: Vec<Feature>, outputs: Vec<Feature>, parts: Vec<Model>) -> Model {
        let part = |(index, model)| Part { label: PartLabel { index, name: String::new() }, model };
        model(inputs, outputs, ModelBody::Pipeline(parts.into_iter().enumerate().map(part).collect()))
    }

    /// Adds what comes in to a state, and gives the sum.
    fn summing(taken: &'static str, given: &'static str) -> Model {
        let body = program(Target::Ios18, |builder| {
            let ty = TensorType::new(DataType::Float32, &[1]);
            let (x, state) = (builder.input(taken, ty.clone()), builder.state("sum", ty));
            let read = builder.op1("read_state", "read", &[("input", state.into())]).unwrap();
            let sum = builder.add(given, read, x).unwrap();
            builder.op("write_state", "write", &[("input", state.into()), ("data", sum.into())]).unwrap();
            (given, sum)
        });
        model(vec![feature(taken, None)], vec![feature(given, None)], body)
    }

    #[test]
    fn states_belong_to_their_parts() {
        let both =
            pipeline(vec![feature("x", None)], vec![feature("y", None)], vec![summing("x", "h"), summing("h", "y")]);
        let interpreter = Interpreter::of_model(&both, ops::OPERATORS, &Literals);
        let mut states = States::default();
        let call = |x: f32, states: &mut States| {
            let inputs = BTreeMap::from([("x".to_owned(), Tensor::new(&[x], &Device::Cpu).unwrap())]);
            let outputs = interpreter.run_with_states(None, inputs, states, Mode::Float32).unwrap();
            assert_eq!(outputs.keys().collect::<Vec<_>>(), ["y"]);
            outputs["y"].to_vec1::<f32>().unwrap()[0]
        };
        assert_eq!([call(1.0, &mut states), call(1.0, &mut states)], [1.0, 3.0]);
        let mut copy = states.clone();
        assert_eq!([call(0.0, &mut copy), call(0.0, &mut states)], [5.0, 5.0]);
        let other = interpreter.run(Some("other"), BTreeMap::new(), Mode::Float32).unwrap_err();
        assert_eq!(other.to_string(), "the program has no function `other`");
    }

    /// `given = taken * factor`, of images where colors are said.
    fn scaling(
        taken: (&'static str, Option<ColorSpace>),
        given: (&'static str, Option<ColorSpace>),
        factor: f32,
    ) -> Model {
        let body = program(Target::Ios16, |builder| {
            let x = builder.input(taken.0, TensorType::new(DataType::Float32, &[1, 3, 1, 1]));
            (given.0, builder.mul(given.0, x, factor).unwrap())
        });
        model(vec![feature(taken.0, taken.1)], vec![feature(given.0, given.1)], body)
    }

    #[test]
    fn images_between_parts_are_pixels_in_the_order_of_the_taker() {
        let (rgb, bgr) = (Some(ColorSpace::Rgb), Some(ColorSpace::Bgr));
        let run = |middle: Option<ColorSpace>, last: Option<ColorSpace>| {
            let parts = vec![scaling(("x", rgb), ("h", rgb), 0.25), scaling(("h", middle), ("y", last), 10.0)];
            let both = pipeline(vec![feature("x", rgb)], vec![feature("y", last)], parts);
            let x = Tensor::new(&[10f32, 20.0, 2000.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
            let inputs = BTreeMap::from([("x".to_owned(), x)]);
            let outputs = Interpreter::of_model(&both, ops::OPERATORS, &Literals).run(None, inputs, Mode::Float32);
            outputs.map(|outputs| outputs["y"].flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        assert_eq!(run(rgb, None).unwrap(), [30.0, 50.0, 2550.0], "2.5 is 3, 500 is 255");
        assert_eq!(run(bgr, None).unwrap(), [2550.0, 50.0, 30.0]);
        let error = run(None, None).unwrap_err();
        assert_eq!(error.to_string(), "part 2");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "input `h` is an image (RGB), expected an array");
        let grey = run(Some(ColorSpace::Grayscale), None).unwrap_err();
        assert_eq!(
            std::error::Error::source(&grey).unwrap().to_string(),
            "input `h` is an image (RGB), expected an image (GRAYSCALE)"
        );
    }

    #[test]
    fn inputs_of_a_pipeline_have_defaults() {
        let optional = |default: Option<&str>| Feature {
            optional: true,
            default: default.map(str::to_owned),
            shape: vec![1],
            ..feature("x", None)
        };
        let run = |default: Option<&str>| {
            let both = pipeline(vec![optional(default)], vec![feature("h", None)], vec![summing("x", "h")]);
            let run = Interpreter::of_model(&both, ops::OPERATORS, &Literals).run(None, BTreeMap::new(), Mode::Float32);
            run.map(|outputs| outputs["h"].to_vec1::<f32>().unwrap()[0])
        };
        assert_eq!(run(Some("7")).unwrap(), 7.0);
        let error = run(None).unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "main: input `x` is missing: expected tensor<fp32, [1]>"
        );
    }
}

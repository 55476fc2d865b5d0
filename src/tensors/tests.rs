//! Tensor files against what numpy and Pillow say of them (`fixtures/tensors/make.py`), and against themselves.

use std::{
    fs,
    io::{Cursor, Read},
    path::PathBuf,
};

use candle_core::{DType, Device};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tensors").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn load(path: &Path) -> BTreeMap<String, Tensor> {
    read(path, &ReadOptions::default()).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn ints(tensor: &Tensor) -> Vec<i64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn shape(value: &Value) -> Vec<usize> {
    value["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// Bits, so that NaN equals itself and the zeros differ.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn check(name: &str, tensor: &Tensor, expected: &Value) {
    assert_eq!(tensor.dims(), shape(expected), "shape of {name}");
    let values = expected["values"].as_array().unwrap();
    match expected["kind"].as_str().unwrap() {
        "float" => {
            let values: Vec<f32> = values.iter().map(|value| number(value) as f32).collect();
            assert_eq!(bits(&floats(tensor)), bits(&values), "{name}");
        }
        "int" => assert_eq!(ints(tensor), values.iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>(), "{name}"),
        _ => {
            assert_eq!(tensor.dtype(), DType::U8, "{name}");
            let found: Vec<u8> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(found, values.iter().map(|v| v.as_u64().unwrap() as u8).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn every_array_of_numpy_is_read() {
    let expected = expected();
    let stored = load(&fixture("stored.npz"));
    let arrays = expected["arrays"].as_object().unwrap();
    assert_eq!(stored.len(), arrays.len());
    for (name, array) in arrays {
        check(name, &stored[name], array);
    }
    let deflated = load(&fixture("deflated.npz"));
    assert_eq!(deflated.len(), 2);
    for (name, tensor) in &deflated {
        check(name, tensor, &arrays[name]);
    }
    check("array", &load(&fixture("array.npy"))["array"], &arrays["f4_big_F"]);
    let named = ReadOptions { name: Some("given".to_owned()), ..ReadOptions::default() };
    check("version2", &read(&fixture("version2.npy"), &named).unwrap()["given"], &arrays["i2_little_C"]);
}

#[test]
fn arrays_are_written_as_numpy_writes_them() {
    let mut archive = zip::ZipArchive::new(fs::File::open(fixture("stored.npz")).unwrap()).unwrap();
    let tensors = load(&fixture("stored.npz"));
    let types = [
        ("f2", DataType::Float16),
        ("f4", DataType::Float32),
        ("i1", DataType::Int8),
        ("i2", DataType::Int16),
        ("i4", DataType::Int32),
        ("i8", DataType::Int64),
        ("u1", DataType::UInt8),
        ("u2", DataType::UInt16),
        ("u4", DataType::UInt32),
        ("u8", DataType::UInt64),
        ("b1", DataType::Bool),
    ];
    let types = types.map(|(name, dtype)| (format!("{name}_little_C"), dtype));
    let others = [
        ("scalar", DataType::Float32),
        ("vector", DataType::Int32),
        ("empty", DataType::Float32),
        ("special", DataType::Float32),
    ];
    for (name, dtype) in types.into_iter().chain(others.map(|(name, dtype)| (name.to_owned(), dtype))) {
        let mut by_numpy = Vec::new();
        archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut by_numpy).unwrap();
        let mut by_us = Vec::new();
        npy::write(&mut by_us, &tensors[&name], dtype).unwrap();
        assert!(by_us == by_numpy, "{name}: {} instead of {}", by_us.escape_ascii(), by_numpy.escape_ascii());
        assert_eq!(npy::length(&tensors[&name], dtype), Some(by_us.len() as u64), "{name}");
    }
}

/// Samples of channel `c` of a picture as the file has them, from 0 to 1.
fn units(picture: &Value, channels: usize, channel: usize) -> Vec<f64> {
    let samples: Vec<f64> = picture["samples"].as_array().unwrap().iter().map(number).collect();
    samples.chunks(channels).map(|pixel| pixel[channel] / number(&picture["max"])).collect()
}

fn near(found: &[f32], expected: impl IntoIterator<Item = f64>, what: &str) {
    let expected: Vec<f64> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        // Three roundings of float32 numbers up to 255.
        assert!((f64::from(*f) - e).abs() <= 3e-5, "{what}: element {i} is {f}, expected {e}");
    }
}

#[test]
fn every_kind_of_picture_is_read() {
    for (name, picture) in expected()["pictures"].as_object().unwrap() {
        let dims = shape(picture);
        let (height, width, found) = (dims[0], dims[1], dims[2]);
        let path = fixture(&format!("{name}.png"));
        // Grey with alpha is read as RGBA.
        let sources: &[usize] = [&[0][..], &[0, 0, 0, 1], &[0, 1, 2], &[0, 1, 2, 3]][found - 1];
        let tensor = &load(&path)[name.as_str()];
        assert_eq!(tensor.dims(), [1, sources.len(), height, width], "{name}");
        near(&floats(tensor), sources.iter().flat_map(|&c| units(picture, found, c)), name);
        let picture_options =
            PictureOptions { layout: Some(Layout::Nhwc), range: ValueRange::Signed, channels: Some(3) };
        let options = ReadOptions { picture: picture_options, ..ReadOptions::default() };
        let tensor = &read(&path, &options).unwrap()[name.as_str()];
        assert_eq!(tensor.dims(), [1, height, width, 3], "{name}");
        let channel = |c: usize| units(picture, found, if found < 3 { 0 } else { c });
        let signed = (0..height * width).flat_map(|pixel| (0..3).map(move |c| 2.0 * channel(c)[pixel] - 1.0));
        near(&floats(tensor), signed, name);
        let bytes = PictureOptions { range: ValueRange::Byte, channels: Some(4), ..PictureOptions::default() };
        let tensor = &read(&path, &ReadOptions { picture: bytes, ..ReadOptions::default() }).unwrap()[name.as_str()];
        let alpha = if found == 2 || found == 4 { units(picture, found, found - 1) } else { vec![1.0; height * width] };
        near(&floats(&tensor.narrow(1, 3, 1).unwrap()), alpha.into_iter().map(|unit| unit * 255.0), name);
    }
}

#[test]
fn pictures_are_rounded_and_clamped_as_is_usual() {
    let expected = expected();
    let values: Vec<f32> = expected["written"]["values"].as_array().unwrap().iter().map(|v| number(v) as f32).collect();
    let levels: Vec<f32> = expected["written"]["levels"].as_array().unwrap().iter().map(|v| number(v) as f32).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.PNG");
    let unit = Tensor::from_vec(values, (1, 3, 4, 4), &Device::Cpu).unwrap();
    let signed = unit.affine(2.0, -1.0).unwrap();
    let byte = unit.affine(255.0, 0.0).unwrap();
    let cases = [(ValueRange::Unit, unit), (ValueRange::Signed, signed), (ValueRange::Byte, byte)];
    for (range, tensor) in cases {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let tensor = if layout == Layout::Nhwc { tensor.permute((0, 2, 3, 1)).unwrap() } else { tensor.clone() };
            let picture = PictureOptions { layout: Some(layout), range, channels: None };
            write(&path, &[("x", &tensor, DataType::Float32)], &WriteOptions { picture }).unwrap();
            let bytes = PictureOptions { range: ValueRange::Byte, ..PictureOptions::default() };
            let found = &read(&path, &ReadOptions { name: None, picture: bytes }).unwrap()["picture"];
            // 2x - 1 is rounded, so that levels at a border may go either way.
            let tolerance = if range == ValueRange::Signed { 1.0 } else { 0.0 };
            let far = floats(found).iter().zip(&levels).filter(|(f, l)| (*f - *l).abs() > tolerance).count();
            assert_eq!(far, 0, "{range:?} {layout}: {:?} instead of {levels:?}", floats(found));
        }
    }
}

#[test]
fn channels_say_what_a_picture_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b.png");
    for (dims, layout, found) in [
        ([1, 1, 2, 5], None, 1),
        ([1, 2, 5, 4], None, 4),
        ([1, 3, 2, 3], None, 3),
        ([1, 3, 2, 1], Some(Layout::Nhwc), 1),
    ] {
        let tensor = Tensor::zeros(&dims, DType::F32, &Device::Cpu).unwrap();
        let picture = PictureOptions { layout, ..PictureOptions::default() };
        write(&path, &[("x", &tensor, DataType::Float32)], &WriteOptions { picture }).unwrap();
        assert_eq!(load(&path)["b"].dims()[1], found, "{dims:?}");
    }
    for dims in [vec![3, 4, 4], vec![2, 3, 4, 4], vec![1, 2, 4, 5], vec![1, 3, 0, 4]] {
        let tensor = Tensor::zeros(dims.as_slice(), DType::F32, &Device::Cpu).unwrap();
        let error = write(&path, &[("x", &tensor, DataType::Float32)], &WriteOptions::default()).unwrap_err();
        assert!(
            matches!(error, TensorFileError::Picture { problem: PictureProblem::Shape { .. }, .. }),
            "{dims:?}: {error:?}"
        );
    }
    let broken = Tensor::from_vec(vec![0.0, f32::NAN, f32::INFINITY, f32::NAN], (1, 1, 2, 2), &Device::Cpu).unwrap();
    let error = write(&path, &[("x", &broken, DataType::Float32)], &WriteOptions::default()).unwrap_err();
    assert!(
        matches!(error, TensorFileError::Picture { problem: PictureProblem::NotANumber { count: 2, first: 1 }, .. }),
        "{error:?}"
    );
    let of = |channels| ReadOptions {
        picture: PictureOptions { channels: Some(channels), ..PictureOptions::default() },
        ..ReadOptions::default()
    };
    assert_eq!(read(&fixture("rgb8.png"), &of(1)).unwrap()["rgb8"].dims()[1], 1);
    let error = read(&fixture("rgb8.png"), &of(2)).unwrap_err();
    assert!(
        matches!(error, TensorFileError::Picture { problem: PictureProblem::Channels { expected: 2 }, .. }),
        "{error:?}"
    );
}

/// Tensors of each kind, whose numbers every type can hold.
fn samples() -> Vec<(&'static str, Tensor, DataType)> {
    let device = &Device::Cpu;
    let floats = Tensor::from_vec(vec![0.0f32, -1.5, 65504.0, 0.25, f32::INFINITY, -0.0], (2, 3), device).unwrap();
    let ints = Tensor::from_vec(vec![0i64, 1, 2, 7], (2, 1, 2), device).unwrap();
    let bools = Tensor::from_vec(vec![1u8, 0, 1], 3, device).unwrap();
    let float = [DataType::Float16, DataType::Float32, DataType::Float64].map(|dtype| ("float", floats.clone(), dtype));
    let int = DataType::ALL.into_iter().filter(|d| d.is_integer() && !matches!(d, DataType::UInt1 | DataType::UInt2));
    let mut all = vec![
        ("bool", bools, DataType::Bool),
        ("scalar", Tensor::from_vec(vec![2.0f32], (), device).unwrap(), DataType::BFloat16),
    ];
    all.extend(float.into_iter().chain(int.map(|dtype| ("int", ints.clone(), dtype))));
    all
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for (name, tensor, dtype) in samples() {
        for ending in ["safetensors", "npz", "npy"] {
            let path = folder.path().join(format!("{name}.{ending}"));
            write(&path, &[(name, &tensor, dtype)], &WriteOptions::default()).unwrap();
            let found = load(&path).remove(name).unwrap();
            assert_eq!((found.dims(), found.dtype()), (tensor.dims(), tensor.dtype()), "{dtype} in {ending}");
            let text = |tensor: &Tensor| {
                format!("{:?}", tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap())
            };
            assert_eq!(text(&found), text(&tensor), "{dtype} in {ending}");
        }
    }
}

#[test]
fn other_readers_of_safetensors_agree_and_bytes_are_stable() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
    let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
    let turned = x.t().unwrap();
    let flags = Tensor::from_vec(vec![1u8, 0, 1], 3, &Device::Cpu).unwrap();
    let tensors = [("b", &turned, DataType::Float16), ("flags", &flags, DataType::UInt8), ("a", &x, DataType::Float32)];
    write(&one, &tensors, &WriteOptions::default()).unwrap();
    write(&two, &[tensors[2], tensors[0], tensors[1]], &WriteOptions::default()).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let candle = candle_core::safetensors::load(&one, &Device::Cpu).unwrap();
    assert_eq!(candle["b"].dtype(), DType::F16);
    assert_eq!(
        candle["b"].to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap(),
        [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    );
    assert_eq!(floats(&candle["a"]), floats(&x));
    for name in ["1.npz", "2.npz"] {
        write(&folder.path().join(name), &tensors, &WriteOptions::default()).unwrap();
    }
    assert_eq!(fs::read(folder.path().join("1.npz")).unwrap(), fs::read(folder.path().join("2.npz")).unwrap());
}

#[test]
fn eight_bit_floats_are_read() {
    let held = |dtype, bytes: &[u8]| floats(&elements::tensor(dtype, &[bytes.len() as u64], bytes).unwrap());
    // Table of the OCP specification: one, largest, least normal, least, and their negatives' sign bit.
    assert_eq!(
        held(DataType::Float8E4M3FN, &[0x38, 0x7e, 0x08, 0x01, 0xbc, 0x00]),
        [1.0, 448.0, 0.015625, 0.001953125, -1.5, 0.0]
    );
    assert!(held(DataType::Float8E4M3FN, &[0x7f, 0xff]).iter().all(|v| v.is_nan()));
    assert_eq!(
        held(DataType::Float8E5M2, &[0x3c, 0x7b, 0x01, 0xfc]),
        [1.0, 57344.0, 2f32.powi(-16), f32::NEG_INFINITY]
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |values: Tensor, dtype| {
        let path = folder.path().join("x.npy");
        let error = write(&path, &[("x", &values, dtype)], &WriteOptions::default()).unwrap_err();
        assert!(!path.exists(), "a half file of {dtype}");
        match error {
            TensorFileError::Tensor { problem: ElementProblem::Value { index, value, .. }, .. } => (index, value),
            other => panic!("{other:?}"),
        }
    };
    let floats = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let ints = |values: &[i64]| Tensor::new(values, &Device::Cpu).unwrap();
    assert_eq!(refused(floats(&[1.0, 65520.0]), DataType::Float16), (1, "65520".to_owned()));
    assert_eq!(refused(floats(&[1.0, 0.5]), DataType::Int32), (1, "0.5".to_owned()));
    assert_eq!(refused(floats(&[9.3e18]), DataType::Int64).0, 0);
    assert_eq!(refused(floats(&[f32::NAN]), DataType::Int8).0, 0);
    assert_eq!(refused(ints(&[0, 128]), DataType::Int8), (1, "128".to_owned()));
    assert_eq!(refused(ints(&[-1]), DataType::UInt4).0, 0);
    assert_eq!(refused(ints(&[2]), DataType::Bool).0, 0);
    assert_eq!(refused(ints(&[(1 << 24) + 1]), DataType::Float32).0, 0);
    let error = elements::tensor(DataType::UInt64, &[2], &[[0; 8], [255; 8]].concat()).unwrap_err();
    assert!(matches!(error, ElementProblem::Value { index: 1, .. }), "{error:?}");
}

#[test]
fn names_and_numbers_of_tensors_must_fit_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let x = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
    let fail = |file: &str, tensors: &[(&str, &Tensor, DataType)]| {
        write(&folder.path().join(file), tensors, &WriteOptions::default()).unwrap_err()
    };
    let (a, reserved) = (("a", &x, DataType::Float32), ("__metadata__", &x, DataType::Float32));
    assert!(matches!(fail("x.npz", &[a, a]), TensorFileError::Repeated { .. }));
    assert!(matches!(fail("x.safetensors", &[reserved]), TensorFileError::Reserved { .. }));
    let error = fail("x.npy", &[a, reserved]);
    assert!(matches!(error, TensorFileError::Count { found: 2, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("x.safetensors"));
    assert!(matches!(fail("x.png", &[]), TensorFileError::Count { found: 0, .. }));
    assert!(matches!(fail("x.jpg", &[a]), TensorFileError::NotWritten { .. }));
    assert!(matches!(fail("x.txt", &[a]), TensorFileError::Extension { .. }));
    let error = fail("x.heic", &[a]);
    assert!(matches!(error, TensorFileError::PictureKind { kind: "HEIC", .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("x.png"), "{error:?}");
    assert!(matches!(fail("x.npy", &[("a", &x, DataType::String)]), TensorFileError::Tensor { .. }));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

/// A version 1 array with this dictionary and so many bytes of data.
fn array(dictionary: &str, data: usize) -> Vec<u8> {
    let mut bytes =
        [b"\x93NUMPY\x01\x00", &(dictionary.len() as u16).to_le_bytes()[..], dictionary.as_bytes()].concat();
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn problem(bytes: &[u8]) -> String {
    read_npy(bytes, bytes.len() as u64).unwrap_err().to_string()
}

#[test]
fn hostile_arrays_are_refused_with_the_reason() {
    const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let with = |from: &str, to: &str| array(&GOOD.replace(from, to), 24);
    assert_eq!(read_npy(&*array(GOOD, 24), array(GOOD, 24).len() as u64).unwrap().dims(), [2, 3]);
    assert!(read_npy(&*with("(2, 3)", "(2L, 3L,)"), with("(2, 3)", "(2L, 3L,)").len() as u64).is_ok());
    assert!(problem(&array(GOOD, 23)).contains("23 bytes of data, shape [2, 3] of `<f4` needs 24"));
    assert!(problem(&array(GOOD, 25)).contains("25 bytes of data"));
    assert!(problem(&with("2, 3", "18446744073709551615, 2")).contains("needs more than fit"));
    assert!(problem(&with("2, 3", "18446744073709551616")).contains("expected a length at byte"));
    assert!(problem(&with("2, 3", "-2, -3")).contains("expected a length"));
    assert!(problem(&with("<f4", "|O")).contains("elements are `|O`"));
    assert!(problem(&with("<f4", "é")).contains("elements are `é`"));
    assert!(problem(&with("<f4", "|f4")).contains("elements are `|f4`"));
    assert!(problem(&with("'<f4'", "[('a', '<f4')]")).contains("expected a string"));
    assert!(problem(&with("'shape'", "'descr'")).contains("each once"));
    assert!(problem(&with("'shape': (2, 3), ", "")).contains("expected `descr`, `fortran_order` and `shape`"));
    assert!(problem(&with(", }", "")).contains("expected `,` or `}`"));
    assert!(problem(&with("(2, 3)", &format!("({})", "1, ".repeat(65)))).contains("at most 64 dimensions"));
    assert!(problem(&array(&"{".repeat(60_000), 0)).contains("expected a string"));
    assert!(problem(b"version https://git-lfs.github.com/spec/v1").contains("begins with `versio`"));
    assert!(problem(b"\x93NUMPY\x09\x00\x00\x00").contains("version 9.0"));
    assert!(problem(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("claims 4294967295 bytes, at most 0 fit"));
    // Nothing of it is there, and its strides overflow.
    let empty = array("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 4294967296, 4294967296), }", 0);
    assert!(problem(&empty).contains("cannot be held"));
    let error = read(&fixture("structured.npy"), &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, TensorFileError::Npy { problem: NpyProblem::Header { .. }, .. }), "{error:?}");
}

/// An archive of one deflated entry of zeros.
fn archive(name: &str, data: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file(name, zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated))
        .unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap().into_inner()
}

fn read_archive(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, TensorFileError> {
    npz::read(Path::new("x.npz"), Cursor::new(bytes), bytes.len() as u64)
}

#[test]
fn archives_that_claim_too_much_are_refused() {
    let good = archive("a.npy", &array("{'descr': '<f4', 'fortran_order': False, 'shape': (250,), }", 1000));
    assert_eq!(read_archive(&good).unwrap()["a"].dims(), [250]);
    assert!(matches!(read_archive(&archive("a.txt", b"")).unwrap_err(), TensorFileError::Entry { .. }));
    // The central directory holds the length 24 bytes after its signature.
    let directory = good.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let claim = |length: u32| {
        let mut bytes = good.clone();
        bytes[directory + 24..directory + 28].copy_from_slice(&length.to_le_bytes());
        read_archive(&bytes)
    };
    assert!(matches!(claim(u32::MAX - 1).unwrap_err(), TensorFileError::Expansion { .. }));
    assert!(matches!(claim(2000).unwrap_err(), TensorFileError::Npz { problem: NpyProblem::Length { .. }, .. }));
    let mut damaged = good.clone();
    damaged[60] ^= 0x55;
    assert!(read_archive(&damaged).is_err(), "the checksum is compared");
}

#[test]
fn pictures_that_claim_too_much_are_refused() {
    let mut bytes = fs::read(fixture("rgb8.png")).unwrap();
    let size = |bytes: &mut Vec<u8>, width: u32, height: u32| {
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut checksum = flate_crc(&bytes[12..29]).to_be_bytes();
        bytes[29..33].swap_with_slice(&mut checksum);
    };
    for (width, height) in [(60_000, 60_000), (4000, 4000), (0x7fff_ffff, 0x7fff_ffff)] {
        size(&mut bytes, width, height);
        let error = Image::parse(&bytes).unwrap_err();
        assert!(matches!(error, PictureProblem::Size { .. } | PictureProblem::Decode(_)), "{error:?}");
    }
    size(&mut bytes, 5, 4);
    assert!(Image::parse(&bytes).is_ok(), "the test's checksum is right");
}

/// CRC-32 as PNG has it, bit by bit.
fn flate_crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

proptest! {
    #[test]
    fn mutated_files_never_panic(file in 0usize..4, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let name = ["array.npy", "deflated.npz", "palette.png", "rgba16.png"][file];
        let mut bytes = fs::read(fixture(name)).unwrap();
        for (index, value) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *value;
        }
        if changes.len() == 3 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let length = bytes.len() as u64;
        let elements = match file {
            0 => read_npy(&*bytes, length).map_or(0, |tensor| tensor.elem_count()),
            1 => read_archive(&bytes).map_or(0, |tensors| tensors.values().map(Tensor::elem_count).sum()),
            _ => Image::parse(&bytes).map_or(0, |image| image.size().0 * image.size().1),
        };
        prop_assert!(elements as u64 <= length * 1032 * 8);
    }

    #[test]
    fn arrays_of_any_shape_come_back(dims in prop::collection::vec(0usize..4, 0..5), seed in any::<u32>()) {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count as u32).map(|i| f32::from_bits(seed.wrapping_mul(i + 1)) ).collect();
        let tensor = Tensor::from_vec(values.clone(), dims.as_slice(), &Device::Cpu).unwrap();
        let mut bytes = Vec::new();
        npy::write(&mut bytes, &tensor, DataType::Float32).unwrap();
        prop_assert_eq!(bytes.len() % 64, count * 4 % 64);
        let found = read_npy(&*bytes, bytes.len() as u64).unwrap();
        prop_assert_eq!(found.dims(), tensor.dims());
        prop_assert_eq!(bits(&floats(&found)), bits(&values));
    }
}

fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign").join(name)
}

#[test]
fn jpeg_files_are_the_pictures_that_pillow_sees() {
    for (name, dims) in [
        ("photo", [3, 8, 12]),
        ("photo_progressive", [3, 8, 12]),
        ("photo_grey", [1, 8, 12]),
        ("photo_turned", [3, 12, 8]),
    ] {
        let picture = PictureOptions { range: ValueRange::Byte, ..PictureOptions::default() };
        let options = ReadOptions { name: Some("x".to_owned()), picture };
        let found = read(&foreign(&format!("{name}.jpg")), &options).unwrap().remove("x").unwrap();
        assert_eq!(found.dims(), [&[1][..], &dims].concat(), "{name}");
        if name == "photo_turned" {
            continue;
        }
        let expected = load(&foreign(&format!("{name}.npy"))).remove(name).unwrap().to_dtype(DType::F32).unwrap();
        let expected = if dims[0] == 1 { expected } else { expected.permute((2, 0, 1)).unwrap().contiguous().unwrap() };
        let worst = floats(&found).iter().zip(floats(&expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 2.0, "{name}: decoders round differently by 1 or 2 levels, not by {worst}");
    }
}

#[test]
fn pictures_are_seen_as_the_camera_was_held() {
    let pixels = |name: &str| {
        let tensor =
            Image::parse(&fs::read(foreign(name)).unwrap()).unwrap().tensor(&PictureOptions::default()).unwrap();
        tensor.squeeze(0).unwrap()
    };
    let (upright, turned) = (pixels("photo.jpg"), pixels("photo_turned.jpg"));
    // Orientation 6: the stored picture is turned clockwise, so that its first column becomes the first row, from the
    // bottom up.
    let column: Vec<f32> =
        (0..8).rev().map(|y| upright.get(0).unwrap().get(y).unwrap().get(0).unwrap().to_scalar().unwrap()).collect();
    assert_eq!(turned.get(0).unwrap().get(0).unwrap().to_vec1::<f32>().unwrap(), column);
}

#[test]
fn colors_become_the_grey_of_pillow() {
    let picture = PictureOptions { range: ValueRange::Byte, channels: Some(1), ..PictureOptions::default() };
    let found = read(&foreign("pixels.png"), &ReadOptions { picture, ..ReadOptions::default() })
        .unwrap()
        .remove("pixels")
        .unwrap();
    let rounded: Vec<f32> = floats(&found).iter().map(|value| value.round()).collect();
    let expected = load(&foreign("pixels_grey.npy")).remove("pixels_grey").unwrap();
    assert_eq!(rounded, ints(&expected).iter().map(|&value| value as f32).collect::<Vec<_>>());
}

#[test]
fn jpeg_files_that_are_no_pictures_say_why() {
    let parse = |bytes: &[u8]| Image::parse(bytes).unwrap_err();
    let bytes = fs::read(foreign("photo.jpg")).unwrap();
    assert!(matches!(parse(&fs::read(foreign("photo_cmyk.jpg")).unwrap()), PictureProblem::Colors("CMYK")));
    for end in [bytes.len() - 2, bytes.len() - 20, bytes.len() / 2, 100, 20] {
        let problem = parse(&bytes[..end]);
        assert!(matches!(problem, PictureProblem::Truncated | PictureProblem::Jpeg(_)), "{end}: {problem:?}");
    }
    // Phones append a film to the picture, in which any bytes may occur.
    let film = [&bytes[..], b"ftyp-mp4\xff\xda\x00\x01"].concat();
    assert_eq!(Image::parse(&film).unwrap().size(), (12, 8));
    let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let mut large = bytes.clone();
    large[frame + 5..frame + 9].fill(0xff);
    assert!(matches!(
        parse(&large),
        PictureProblem::Size { width: 65535, height: 65535, .. } | PictureProblem::Jpeg(_)
    ));
    assert!(matches!(parse(b"GIF89a"), PictureProblem::Kind));
    assert!(matches!(parse(b""), PictureProblem::Kind));
    // What a file is called does not matter.
    let folder = tempfile::tempdir().unwrap();
    fs::copy(foreign("photo.jpg"), folder.path().join("photo.png")).unwrap();
    assert_eq!(read_picture(&folder.path().join("photo.png")).unwrap().size(), (12, 8));
}

proptest! {
    #[test]
    fn mutated_photos_never_panic(progressive in any::<bool>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = fs::read(foreign(if progressive { "photo_progressive.jpg" } else { "photo_turned.jpg" })).unwrap();
        for (index, value) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *value;
        }
        if let Ok(image) = Image::parse(&bytes) {
            prop_assert!(image.size().0 * image.size().1 <= bytes.len() * 2048);
        }
    }
}

use std::path::PathBuf;

use half::{bf16, f16};

use super::*;
use crate::checkpoint::testing::Xorshift;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoints/pickle").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A zip archive of stored entries, without checksums.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let local = file.len() as u32;
        // From `version needed` up to the length of the name; then the length of the extra field.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend((data.len() as u32).to_le_bytes().repeat(2));
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(local.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let begin = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(begin.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn text(value: &str) -> Vec<u8> {
    [b"X", &(value.len() as u32).to_le_bytes()[..], value.as_bytes()].concat()
}

fn tuple(values: &[i32]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| [b"J".to_vec(), value.to_le_bytes().to_vec()].concat());
    [vec![b'('], values.collect(), vec![b't']].concat()
}

/// Instructions for a tensor in the storage `0`.
fn tensor(class: &str, offset: i32, size: &[i32], stride: &[i32]) -> Vec<u8> {
    let storage = [
        b"(".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text("0"),
        text("cpu"),
        b"K\0tQ".to_vec(),
    ];
    let offset = [b"J".to_vec(), offset.to_le_bytes().to_vec()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(),
        storage.concat(),
        offset,
        tuple(size),
        tuple(stride),
        b"\x89}tR".to_vec(),
    ]
    .concat()
}

/// A checkpoint with one tensor `t`, and 16 bytes of data.
fn checkpoint(tensor: &[u8]) -> Vec<u8> {
    let pickle = [b"\x80\x02}", &text("t")[..], tensor, b"s."].concat();
    archive(&[("a/data.pkl", &pickle), ("a/data/0", &[7; 16])])
}

fn problem(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

fn floats(file: &[u8], tensor: &StoredTensor) -> Vec<f32> {
    tensor.data(file).as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn tensors_are_what_torch_would_load() {
    let file = fixture("state_dict.pth");
    let tensors = read(&file).unwrap();
    let dtypes: Vec<_> =
        tensors.iter().map(|(name, tensor)| format!("{name} {} {:?}", tensor.info.dtype, tensor.info.shape)).collect();
    let expected = [
        "bfloat BF16 [2, 1]",
        "bool BOOL [3]",
        "column F32 [6]",
        "double F64 []",
        "empty F32 [0, 3]",
        "half F16 [2]",
        "int I32 [1]",
        "long I64 [2]",
        "matrix F32 [2, 3, 4]",
        "parameter F32 [1]",
        "tail F32 [2, 3]",
        "transposed F32 [4, 3, 2]",
        "uint16 U16 [2]",
    ];
    assert_eq!(dtypes, expected);
    let counted: Vec<f32> = (0..24u8).map(f32::from).collect();
    assert_eq!(floats(&file, &tensors["matrix"]), counted);
    // torch.arange(24.).reshape(2, 3, 4).permute(2, 1, 0)
    let permuted = [0, 12, 4, 16, 8, 20, 1, 13, 5, 17, 9, 21, 2, 14, 6, 18, 10, 22, 3, 15, 7, 19, 11, 23]
        .map(|v: u8| f32::from(v));
    assert_eq!(floats(&file, &tensors["transposed"]), permuted);
    assert_eq!(floats(&file, &tensors["tail"]), counted[18..]);
    assert_eq!(floats(&file, &tensors["column"]), [1.0, 5.0, 9.0, 13.0, 17.0, 21.0]);
    assert_eq!(floats(&file, &tensors["parameter"]), [5.0]);
    let data = |name: &str| tensors[name].data(&file).into_owned();
    assert_eq!(data("half"), [f16::from_f32(0.5), f16::from_f32(-2.0)].map(f16::to_le_bytes).concat());
    assert_eq!(data("bfloat"), [bf16::from_f32(1.0), bf16::from_f32(-2.0)].map(bf16::to_le_bytes).concat());
    assert_eq!(data("double"), 0.1f64.to_le_bytes());
    assert_eq!(data("long"), [-1i64, 1 << 40].map(i64::to_le_bytes).concat());
    assert_eq!(data("int"), (-7i32).to_le_bytes());
    assert_eq!(data("bool"), [1, 0, 1]);
    assert_eq!(data("uint16"), [0xFF, 0xFF, 1, 0]);
    assert_eq!(data("empty"), [0u8; 0]);
}

#[test]
fn data_in_order_is_not_copied() {
    let file = fixture("state_dict.pth");
    let tensors = read(&file).unwrap();
    for name in ["matrix", "tail", "bfloat"] {
        assert_eq!(tensors[name].strides, None, "{name}");
    }
    assert_eq!(tensors["column"].strides, Some(vec![4]));
}

#[test]
fn a_state_dict_may_lie_under_a_key() {
    let training = fixture("training.ckpt");
    let names: Vec<String> = read(&training).unwrap().into_keys().collect();
    assert_eq!(names, read(&fixture("state_dict.pth")).unwrap().into_keys().collect::<Vec<_>>());
    let protocol4 = fixture("protocol4.pt");
    let tensors = read(&protocol4).unwrap();
    assert_eq!(floats(&protocol4, &tensors["a"]), [1.5]);
}

#[test]
fn a_checkpoint_without_tensors_says_where_it_looked() {
    let pickle = [b"\x80\x02}", &text("epoch")[..], b"K\x03s."].concat();
    let error = problem(&archive(&[("a/data.pkl", &pickle)]));
    assert!(error.starts_with("it holds no tensors at the top or under `state_dict`"), "{error}");
    assert!(error.ends_with("at the top there is `epoch`"), "{error}");
    let called = archive(&[("a/data.pkl", b"\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.")]);
    assert!(problem(&called).ends_with("at the top there is nothing"), "calls are written down, never made");
}

#[test]
fn what_cannot_be_read_is_refused_and_never_left_out() {
    let of = |tensor: Vec<u8>| problem(&checkpoint(&tensor));
    assert!(read(&checkpoint(&tensor("FloatStorage", 0, &[4], &[1]))).is_ok());
    assert_eq!(
        of(tensor("ComplexFloatStorage", 0, &[2], &[1])),
        "tensor `t` has the element type `ComplexFloatStorage`, which mlreg does not know"
    );
    assert_eq!(of(tensor("FloatStorage", 1, &[4], &[1])), "tensor `t` needs 5 elements of its storage, which has 4");
    assert_eq!(
        of(tensor("FloatStorage", 0, &[2, 2], &[3, 1])),
        "tensor `t` needs 5 elements of its storage, which has 4"
    );
    assert_eq!(
        of(tensor("FloatStorage", 0, &[2, 2], &[1])),
        "the description of tensor `t` needs as many strides as dimensions"
    );
    assert_eq!(of(tensor("FloatStorage", 0, &[-1], &[1])), "the description of tensor `t` needs a size");
    assert_eq!(of(tensor("FloatStorage", -1, &[1], &[1])), "the description of tensor `t` needs an offset");
    assert_eq!(of(tensor("FloatStorage", 0, &[5], &[0])), "tensor `t` has 5 elements, its storage only 4");
    let huge = [i32::MAX; 5];
    assert_eq!(of(tensor("FloatStorage", 0, &huge, &[0; 5])), "tensor `t` has too many elements, its storage only 4");
    assert_eq!(
        of(tensor("FloatStorage", 0, &huge, &huge)),
        "tensor `t` needs too many elements of its storage, which has 4"
    );
    // LONG1 of one byte is signed: -1, and 255 only with a second one.
    let long = |digits: &[u8]| {
        let size = [&b"(\x8a"[..], &[digits.len() as u8], digits, b"t"].concat();
        let plain = tensor("FloatStorage", 0, &[4], &[1]);
        let at = plain.windows(7).position(|window| window == b"(J\x04\0\0\0t").unwrap();
        of([&plain[..at], &size, &plain[at + 7..]].concat())
    };
    assert_eq!(long(b"\xFF"), "the description of tensor `t` needs a size");
    assert_eq!(long(b"\xFF\0"), "tensor `t` needs 255 elements of its storage, which has 4");
    // A tensor that is meant negated, and tensors that lie deeper than names say.
    let plain = tensor("FloatStorage", 0, &[4], &[1]);
    let negated = [&plain[..plain.len() - 2], b"}", &text("neg")[..], b"\x88stR"].concat();
    assert!(of(negated).ends_with("needs numbers as they stand, neither negated nor conjugate"));
    let beside = |more: &[u8]| {
        problem(&archive(&[
            ("a/data.pkl", &[b"\x80\x02}", &text("t")[..], &plain, b"s", more, b"s."].concat()),
            ("a/data/0", &[7; 16]),
        ]))
    };
    let below = [&text("head")[..], b"}", &text("weight")[..], &plain, b"s"].concat();
    assert_eq!(
        beside(&below),
        "its state dict has tensors below `head`, which is no tensor: expected a tensor for every name"
    );
    assert!(beside(&[b"K\x03", &plain[..]].concat()).contains("below `a key that is no text`"));
    let sparse = b"ctorch._utils\n_rebuild_sparse_tensor\n)R";
    assert_eq!(of(sparse.to_vec()), "tensor `t` is made by `_rebuild_sparse_tensor`, expected a dense tensor");
    let short = b"ctorch._utils\n_rebuild_tensor_v2\n)R";
    assert_eq!(of(short.to_vec()), "the description of tensor `t` needs a storage, offset, size and stride");
}

#[test]
fn an_archive_must_be_what_torch_writes() {
    let good = [b"\x80\x02}", &text("t")[..], &tensor("FloatStorage", 0, &[4], &[1]), b"s."].concat();
    let with = |entries: &[(&str, &[u8])]| {
        let all: Vec<_> = [("a/data.pkl", &good[..])].into_iter().chain(entries.iter().copied()).collect();
        problem(&archive(&all))
    };
    assert_eq!(with(&[]), "the data of tensor `t` should be in `a/data/0`, which is not in the archive");
    assert_eq!(with(&[("a/data/0", &[0; 16]), ("a/data/0", &[0; 16])]), "`a/data/0` is in the archive twice");
    assert_eq!(with(&[("a/data/0", &[0; 16]), ("a/byteorder", b"big")]), "its byte order is `big`, expected `little`");
    assert_eq!(with(&[("b/data.pkl", b".")]), "expected one `data.pkl` in the archive");
    assert_eq!(problem(&archive(&[])), "expected one `data.pkl` in the archive");
    assert_eq!(problem(b"PK"), "it is no zip archive");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert_eq!(problem(&tar), "it is a tar archive, which the first versions of torch wrote");
    let mut compressed = archive(&[("a/data.pkl", &good)]);
    let directory = compressed.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    compressed[directory + 10] = 8;
    assert_eq!(
        problem(&compressed),
        "`a/data.pkl` in the archive is compressed or encrypted, expected it to be stored"
    );
}

#[test]
fn archives_with_64_bit_lengths_are_read() {
    let tensor = tensor("FloatStorage", 0, &[4], &[1]);
    let mut file = checkpoint(&tensor);
    let end = file.split_off(file.len() - 22);
    let number = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let (length, begin) = (number(12), number(16));
    // The last directory entry's lengths and place move into an extra field.
    let directory = file.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let local = u64::from(u32::from_le_bytes(file[directory + 42..directory + 46].try_into().unwrap()));
    file[directory + 20..directory + 28].fill(0xFF);
    file[directory + 42..directory + 46].fill(0xFF);
    let other = [0xAA, 0xAA, 1, 0, 0];
    file[directory + 30] = 28 + other.len() as u8;
    file.extend(other);
    file.extend([1, 0, 24, 0]);
    file.extend([16, 16, local].map(u64::to_le_bytes).concat());
    let record = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend([0; 36]);
    file.extend([length + 28 + other.len() as u64, begin].map(u64::to_le_bytes).concat());
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(record.to_le_bytes());
    file.extend([1, 0, 0, 0]);
    file.extend(b"PK\x05\x06\0\0\0\0\xFF\xFF\xFF\xFF");
    file.extend([0xFF; 8]);
    file.extend([0, 0]);
    assert_eq!(read(&file).unwrap()["t"].data(&file).as_ref(), [7; 16]);
}

#[test]
fn a_pickle_costs_no_more_than_its_length() {
    // Nesting a million deep, and doubling sixty times: either ends a process that builds the objects.
    let deep = [b"\x80\x02)".to_vec(), vec![0x85; 1_000_000], b".".to_vec()].concat();
    assert!(matches!(read(&archive(&[("a/data.pkl", &deep)])), Err(PickleProblem::NoStateDict { .. })));
    let mut bomb = b"\x80\x02)q\x00".to_vec();
    for level in 1..60u8 {
        bomb.extend([b'h', level - 1, b'h', level - 1, 0x86, b'q', level]);
    }
    bomb.push(b'.');
    assert!(matches!(read(&archive(&[("a/data.pkl", &bomb)])), Err(PickleProblem::NoStateDict { .. })));
    let own = b"\x80\x02}q\x00X\x05\0\0\0modelh\x00s.";
    assert!(
        matches!(read(&archive(&[("a/data.pkl", own)])), Err(PickleProblem::NoStateDict { .. })),
        "a dictionary in itself"
    );
    let long = vec![b'N'; machine::LONGEST as usize + 1];
    assert!(matches!(read(&archive(&[("a/data.pkl", &long)])), Err(PickleProblem::TooLong { .. })));
    let claimed = b"\x80\x02X\xFF\xFF\xFF\xFFa.";
    assert_eq!(problem(&archive(&[("a/data.pkl", claimed)])), "its pickle ends inside the instruction at byte 2");
}

#[test]
fn damaged_pickles_say_where() {
    let of = |pickle: &[u8]| problem(&archive(&[("a/data.pkl", pickle)]));
    assert_eq!(of(b"\x80\x02"), "its pickle ends inside the instruction at byte 2");
    assert_eq!(of(b"\x80\x02I1\n."), "its pickle has the unknown instruction 0x49 at byte 2");
    assert_eq!(of(b"\x80\x02."), "the instruction at byte 2 of its pickle needs a value");
    assert_eq!(of(b"\x80\x02Nt."), "the instruction at byte 3 of its pickle needs a mark");
    assert_eq!(of(b"\x80\x02N(0."), "the instruction at byte 4 of its pickle needs a value");
    assert_eq!(of(b"\x80\x02h\x01."), "the instruction at byte 2 of its pickle needs a remembered value");
    assert_eq!(of(b"\x80\x02NNNs."), "the instruction at byte 5 of its pickle needs a dictionary");
    assert_eq!(of(b"\x80\x02}(Nu."), "the instruction at byte 5 of its pickle needs a value for every key");
    assert_eq!(of(b"\x80\x02ctorch"), "its pickle ends inside the instruction at byte 2");
}

#[test]
fn mutated_files_never_panic() {
    let mut random = Xorshift::new();
    let (mut accepted, mut refused) = (0, 0);
    for name in ["state_dict.pth", "training.ckpt", "protocol4.pt", "legacy.pth"] {
        let original = fixture(name);
        for _ in 0..5_000 {
            let bytes = random.mutate(&original);
            match read(&bytes) {
                Ok(tensors) => {
                    accepted += 1;
                    for (name, tensor) in &tensors {
                        assert_eq!(Some(tensor.data(&bytes).len() as u64), tensor.info.bytes(), "{name}");
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

#[test]
fn files_from_before_torch_1_6_hold_the_same() {
    let (zip, legacy) = (fixture("state_dict.pth"), fixture("legacy.pth"));
    let (expected, found) = (read(&zip).unwrap(), read(&legacy).unwrap());
    for (name, tensor) in &expected {
        assert_eq!(found[name].info, tensor.info, "{name}");
        assert_eq!(found[name].data(&legacy), tensor.data(&zip), "{name}");
    }
    // torch.arange(24.)[4:16][1:].as_strided((2, 3), (6, 2))
    assert_eq!(floats(&legacy, &found["view"]), [5.0, 7.0, 9.0, 11.0, 13.0, 15.0]);
    assert_eq!(found.len(), expected.len() + 1);
}

/// A file from before torch 1.6 with one tensor `t` in the storages that `listed` names, whose data is `data`.
fn legacy(tensor: &[u8], listed: &[&str], data: &[u8]) -> Vec<u8> {
    let system = [b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat();
    let saved = [b"\x80\x02}", &text("t")[..], tensor, b"s."].concat();
    let keys: Vec<u8> = listed.iter().flat_map(|key| text(key)).collect();
    [
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        &system[..],
        &saved,
        b"\x80\x02](",
        &keys,
        b"e.",
        data,
    ]
    .concat()
}

/// Instructions for four numbers in the storage `0`; `view` is the last part of the reference to it.
fn viewed(class: &str, elements: u8, view: &[u8]) -> Vec<u8> {
    let plain = tensor(class, 0, &[4], &[1]);
    let at = plain.windows(4).position(|window| window == b"K\0tQ").unwrap();
    [&plain[..at], &[b'K', elements], view, &plain[at + 2..]].concat()
}

#[test]
fn files_from_before_torch_1_6_are_checked_before_they_are_believed() {
    let counted = |count: i64, bytes: usize| [&count.to_le_bytes()[..], &vec![7; bytes]].concat();
    let good = legacy(&viewed("FloatStorage", 4, b"N"), &["0"], &counted(4, 16));
    assert_eq!(read(&good).unwrap()["t"].data(&good).as_ref(), [7; 16]);
    let of =
        |view: &[u8], listed: &[&str], data: &[u8]| problem(&legacy(&viewed("FloatStorage", 4, view), listed, data));
    assert_eq!(of(b"N", &["0"], &counted(4, 15)), "storage `0` needs 24 bytes, 23 are left in the file");
    assert_eq!(of(b"N", &["0"], &[0; 7]), "storage `0` needs 8 bytes, 7 are left in the file");
    assert_eq!(of(b"N", &["0"], &counted(4, 17)), "1 bytes follow the last storage, expected the end of the file");
    assert_eq!(of(b"N", &["0"], &counted(5, 20)), "storage `0` has 5 elements, its tensors expect 4");
    assert_eq!(of(b"N", &["0"], &counted(-1, 16)), "storage `0` has -1 elements, its tensors expect 4");
    assert_eq!(of(b"N", &["1"], &counted(4, 16)), "storage `1` belongs to no tensor, so that its length is unknown");
    assert_eq!(of(b"N", &["0", "0"], &counted(4, 16).repeat(2)), "storage `0` is listed twice");
    assert_eq!(of(b"N", &[], &[]), "the data of tensor `t` should be in the storage `0`, which the file does not list");
    assert_eq!(
        of(b"(X\x01\0\0\0vK\x01K\x04t", &["0"], &counted(4, 16)),
        "tensor `t` needs 5 elements of its storage, which has 4"
    );
    assert_eq!(
        of(b"(X\x01\0\0\0vK\x01K\x03t", &["0"], &counted(4, 16)),
        "tensor `t` needs 4 elements of its storage, which has 3"
    );
    assert_eq!(
        of(b"K\x01", &["0"], &counted(4, 16)),
        "the description of tensor `t` needs a view of a storage, or none"
    );
    let complex = legacy(&viewed("ComplexFloatStorage", 4, b"N"), &["0"], &counted(4, 32));
    assert_eq!(problem(&complex), "storage `0` has the element type `ComplexFloatStorage`, which mlreg does not know");
    let long = [&b"\x8a\x08"[..], &i64::MAX.to_le_bytes(), b"N"].concat();
    let huge = viewed("FloatStorage", 4, b"").windows(2).position(|window| window == b"K\x04").map(|at| {
        let plain = viewed("FloatStorage", 4, b"");
        [&plain[..at], &long, &plain[at + 2..]].concat()
    });
    let huge = legacy(&huge.unwrap(), &["0"], &counted(i64::MAX, 16));
    assert_eq!(problem(&huge), "storage `0` needs too many bytes, 24 are left in the file");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        problem(&[&good[..at], to, &good[at + from.len()..]].concat())
    };
    assert_eq!(
        replaced(b"M\xe9\x03.", b"M\xea\x03."),
        "its protocol version is not what torch wrote before version 1.6: expected 1001"
    );
    assert_eq!(replaced(b"\x88s.", b"\x89s."), "its byte order is `big`, expected `little`");
    assert!(replaced(b"](", b"}(").ends_with(" of its pickle needs a list"));
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut to {length} bytes");
    }
}
